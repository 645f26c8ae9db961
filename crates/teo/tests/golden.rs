//! Golden files, one directory for each operation: request bytes in, parameters as understood (or the refusal) out;
//! answer bytes in, the same bytes out.
//!
//! `<case>.request` begins with a line that is `GET <target>` or `POST <content type>`; a POST's body follows.
//! `<case>.decoded` holds the parameters as a JSON body would have them, defaults filled in, or `code: message`.
//! `<case>.answer` holds an answer's body. With `UPDATE_GOLDEN` set, `.decoded` files are written instead of compared.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use teo::{
    Action, Answer, Operation, Param, RawRequest, RequestId, decode_answer, edgeone, encode_answer, everfresh,
};

fn directory(action: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(action)
}

/// The files of an operation with this extension, and what is in them.
fn cases(action: &str, extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut cases: Vec<_> = fs::read_dir(directory(action))
        .unwrap_or_else(|error| panic!("{action} has no golden files: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{action} has no .{extension}");
    cases
}

fn decoded(action: Action, file: &[u8]) -> String {
    let line_end = file.iter().position(|byte| *byte == b'\n').unwrap();
    let (head, body) = (std::str::from_utf8(&file[..line_end]).unwrap(), &file[line_end + 1..]);
    let (method, rest) = head.split_once(' ').unwrap();
    let (target, kind) = if method == "GET" { (rest, "") } else { ("/", rest) };
    let headers = vec![(&b"Content-Type"[..], kind.as_bytes())];
    let raw = RawRequest { method, target: target.as_bytes(), headers, body };
    match Param::read(&raw).and_then(|given| action.decode(given)) {
        Ok(request) => {
            assert_eq!(request.action(), action);
            serde_json::to_string_pretty(&request.encode_fields()).unwrap() + "\n"
        }
        Err(error) => format!("{error}\n"),
    }
}

#[test]
fn requests_are_understood_as_recorded() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for action in Action::all() {
        for (path, file) in cases(action.name(), "request") {
            let decoded = decoded(action, &file);
            let golden = path.with_extension("decoded");
            if update {
                fs::write(&golden, &decoded).unwrap();
            }
            let recorded = fs::read_to_string(&golden).unwrap();
            assert_eq!(decoded, recorded, "{}", golden.display());
        }
    }
}

fn check_answers<T: Operation>() {
    for (path, file) in cases(T::ACTION.name(), "answer") {
        let Answer::Success { fields, request_id } = Answer::read(&file).unwrap() else {
            panic!("{} is no success", path.display());
        };
        let answer: T::Response =
            decode_answer(fields).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let id = RequestId::from_random([0; 16]);
        assert_eq!(id.to_string(), request_id);
        let encoded = String::from_utf8(encode_answer(&answer, id)).unwrap();
        assert_eq!(encoded, String::from_utf8(file).unwrap(), "{}", path.display());
    }
}

#[test]
fn answers_are_written_as_recorded() {
    check_answers::<edgeone::CreatePurgeTaskRequest>();
    check_answers::<edgeone::DescribePurgeTasksRequest>();
    check_answers::<edgeone::CreatePrefetchTaskRequest>();
    check_answers::<edgeone::DescribePrefetchTasksRequest>();
    check_answers::<edgeone::DescribeContentQuotaRequest>();
    check_answers::<edgeone::CreateZoneRequest>();
    check_answers::<edgeone::DescribeZonesRequest>();
    check_answers::<edgeone::ModifyZoneRequest>();
    check_answers::<edgeone::ModifyZoneStatusRequest>();
    check_answers::<edgeone::DeleteZoneRequest>();
    check_answers::<edgeone::CreateAccelerationDomainRequest>();
    check_answers::<edgeone::DescribeAccelerationDomainsRequest>();
    check_answers::<edgeone::ModifyAccelerationDomainRequest>();
    check_answers::<edgeone::ModifyAccelerationDomainStatusesRequest>();
    check_answers::<edgeone::DeleteAccelerationDomainsRequest>();
    check_answers::<edgeone::ModifyL7AccSettingRequest>();
    check_answers::<edgeone::DescribeL7AccSettingRequest>();
    check_answers::<edgeone::CreateL7AccRulesRequest>();
    check_answers::<edgeone::DescribeL7AccRulesRequest>();
    check_answers::<edgeone::ModifyL7AccRuleRequest>();
    check_answers::<edgeone::ModifyL7AccRulePriorityRequest>();
    check_answers::<edgeone::DeleteL7AccRulesRequest>();
    check_answers::<everfresh::CreateKeyRequest>();
    check_answers::<everfresh::DescribeKeysRequest>();
    check_answers::<everfresh::ModifyKeyStatusRequest>();
    check_answers::<everfresh::DeleteKeyRequest>();
    check_answers::<everfresh::DescribeJobProgressRequest>();
    check_answers::<everfresh::DescribeEdgesRequest>();
    check_answers::<everfresh::DrainEdgeRequest>();
    check_answers::<everfresh::ResumeEdgeRequest>();
    check_answers::<everfresh::RemoveEdgeRequest>();
    check_answers::<everfresh::CreateEdgeTokenRequest>();
    check_answers::<everfresh::DescribeEdgeTokensRequest>();
    check_answers::<everfresh::RevokeEdgeTokenRequest>();
    check_answers::<everfresh::ModifyContentQuotaRequest>();
}
