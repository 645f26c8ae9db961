"""Calls the API through the official Python SDK, as told on standard input.

Each line is one call, a JSON object; each answer is one line, {"answer": …} or {"error": {"code", "message", "request_id"}}.
"""

import importlib
import json
import sys

from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile


def call(order):
    version = order.get("version", "v20220901")
    client_module = importlib.import_module("tencentcloud.teo.%s.teo_client" % version)
    models = importlib.import_module("tencentcloud.teo.%s.models" % version)
    http_profile = HttpProfile(
        protocol=order["scheme"],
        endpoint=order["endpoint"],
        reqMethod=order.get("http_method", "POST"),
        reqTimeout=60,
        certification=order.get("certification"),
    )
    profile = ClientProfile(signMethod=order.get("sign_method"), httpProfile=http_profile)
    key = credential.Credential(order["secret_id"], order["secret_key"])
    client = client_module.TeoClient(key, "", profile)
    request = getattr(models, order["action"] + "Request")()
    request.from_json_string(json.dumps(order["parameters"]))
    return json.loads(getattr(client, order["action"])(request).to_json_string())


for line in sys.stdin:
    try:
        outcome = {"answer": call(json.loads(line))}
    except TencentCloudSDKException as error:
        outcome = {"error": {"code": error.code, "message": error.message, "request_id": error.requestId}}
    print(json.dumps(outcome), flush=True)
