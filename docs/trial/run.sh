#!/bin/bash
# A control plane and an edge before nginx with a documentation tree and one large file: crawled by wget and by curl over
# HTTP/2, killed and started again, asked for ranges, purged in the middle of a crawl. Everything that clients get is compared
# with the source by SHA-256. docs/trial.md says what it printed.
#
#     docs/trial/run.sh [PROGRAM]        PROGRAM: target/release/everfresh unless it is given
#
# Needs nginx, wget, curl with HTTP/2, openssl and apt-get (which downloads the package git-doc; nothing is installed).
#   TRIAL_TREE=DIR   a tree to serve instead of that package's
#   TRIAL_MIB=N      how large the large file is, 384 MiB by default
#   TRIAL_PORT=N     the first of six ports of 127.0.0.1, 18400 by default
# Ends with 0 if every check held. What it made is in a temporary directory, which it removes unless TRIAL_KEEP=1.

set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"

program=$(realpath "${1:-$(dirname "$0")/../../target/release/everfresh}")
port=${TRIAL_PORT:-18400}
mib=${TRIAL_MIB:-384}
domain=docs.example.com
origin=127.0.0.1:$port feed=127.0.0.1:$((port + 1)) api=127.0.0.1:$((port + 2))
http=127.0.0.1:$((port + 3)) https=127.0.0.1:$((port + 4)) admin=127.0.0.1:$((port + 5))

# apt-get gives up its rights while it downloads, so it must be able to come here.
work=$(mktemp -d) && chmod 755 "$work" && cd "$work"
declare -A pids=()
failures=0

end() {
    for name in crawl edge control nginx; do
        if [ -n "${pids[$name]:-}" ]; then kill "${pids[$name]}" 2>/dev/null && wait "${pids[$name]}" || true; fi
    done
    if [ "${TRIAL_KEEP:-0}" = 1 ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap end EXIT

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
check() { # TEXT COMMAND…
    local text=$1
    shift
    if "$@"; then say "ok    $text"; else say "WRONG $text" && failures=$((failures + 1)); fi
}
until_it() { # COMMAND…: waits until it succeeds, at most a minute
    for _ in $(seq 600); do if "$@" >/dev/null 2>&1; then return; fi && sleep 0.1; done
    say "gave up waiting for: $*" && exit 1
}
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }
sums() { (cd "$1" && find -L . -type f -print0 | sort -z | xargs -0 sha256sum); }
sum_of() { sha256sum | cut -d' ' -f1; }
origin_requests() { wc -l <origin.log; }
metrics() { curl -s "http://$admin/metrics" | grep -E "^everfresh_edge_($1)" | sed 's/^/      /' || true; }

fetch() { curl -sS --no-progress-meter --fail --cacert certificate.pem --connect-to "$domain:443:$https" "$@"; }
mirror() { # DIR: follows all links, then asks for the files that no page links
    local proxied=(-q -nH -e use_proxy=yes -e "http_proxy=http://$http/")
    wget "${proxied[@]}" -P "$1" --mirror --page-requisites "http://$domain/" || true
    (cd site && find -L . -type f) | sort >all.txt
    (cd "$1" && find . -type f) | sort >reached.txt
    say "      wget reached $(wc -l <reached.txt) files by links; $(comm -23 all.txt reached.txt | wc -l) more are asked for by name"
    comm -23 all.txt reached.txt | sed "s|^\.|http://$domain|" | wget "${proxied[@]}" -P "$1" -x -i - || true
}
crawl_http2() { # DIR: requests side by side
    sed "s|^\./\(.*\)|url = https://$domain/\1\noutput = $1/\1|" all.txt >urls.txt
    fetch --http2 --parallel --parallel-max 32 --create-dirs -K urls.txt -w '%{http_version}\n' >versions.txt
}
same_tree() { diff -q <(sums "$1") "$2" >/dev/null; }
start_edge() { # N: this is the Nth start
    "$program" edge --listen "$http" --tls-listen "$https" --tls-cert certificate.pem --tls-key key.pem \
        --control "$feed" --token-file data/edge.token --name edge-1 --disk disk --memory 1GiB \
        --admin-listen "$admin" --access-log access.log >"edge.$1.out" 2>&1 &
    pids[edge]=$!
    until_it curl -sf "http://$admin/readyz"
}

step "A tree, a large file, and nginx before them"
if [ -z "${TRIAL_TREE:-}" ]; then
    apt-get download -qq git-doc 2>apt.err || { cat apt.err && say "no package git-doc: run apt-get update, or set TRIAL_TREE" && exit 1; }
    dpkg -x git-doc_*.deb package
    TRIAL_TREE=$work/package/usr/share/doc/git-doc
    say "      $(echo git-doc_*.deb)"
fi
mkdir sites && cp -aL "$TRIAL_TREE" sites/1 && chmod -R a+rX sites && ln -s sites/1 site
head -c "$((mib << 20))" /dev/urandom >sites/1/large.bin
# No Cache-Control: fresh for a tenth of its age.
touch -d '10 days ago' sites/1/large.bin
sums sites/1 >sums.1
say "      $(wc -l <sums.1) files, $(du -sh --exclude large.bin sites/1 | cut -f1) and one of $mib MiB"
cat >nginx.conf <<CONF
daemon off;
pid nginx.pid;
error_log origin.err;
$([ "$(id -u)" != 0 ] || echo "user root;")
events {}
http {
    include /etc/nginx/mime.types;
    log_format short '\$request_method \$request_uri \$status \$http_range';
    access_log origin.log short;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    server { listen $origin; root site; }
}
CONF
nginx -p "$work" -c nginx.conf -e origin.err &
pids[nginx]=$!
until_it curl -sf "http://$origin/"

step "A control plane and an edge"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$domain" \
    -addext "subjectAltName=DNS:$domain" -keyout key.pem -out certificate.pem 2>/dev/null
"$program" control --api-listen "$api" --feed-listen "$feed" --data data >control.out 2>&1 &
pids[control]=$!
until_it curl -sf "http://$api/healthz"
until_it grep -q EVERFRESH_SECRET_KEY control.out
eval "$(grep -E '^ *export EVERFRESH_' control.out)"
export EVERFRESH_ENDPOINT=http://$api
"$program" zone create example.com >zone.out
"$program" domain create "$domain" --origin "http://$origin" >domain.out
start_edge 1
until_it fetch -o /dev/null "https://$domain/"
: >origin.log
"$program" edges
metrics 'answers_total|fetches_total|purge_applied_seq|lease_seconds|stored_'

step "Crawled over HTTP/1.1 by wget"
began=$EPOCHREALTIME
mirror got.wget
say "      in $(since "$began"); requests at the origin: $(origin_requests)"
check "every file is the source's, byte for byte" same_tree got.wget sums.1
before=$(origin_requests)

step "Crawled over HTTP/2 with TLS by curl"
began=$EPOCHREALTIME
crawl_http2 got.http2
say "      in $(since "$began"); requests at the origin: $(($(origin_requests) - before))"
check "every file is the source's, byte for byte" same_tree got.http2 sums.1
check "every answer came over HTTP/2" [ "$(sort versions.txt | uniq -c | awk '{ print $1, $2 }')" = "$(wc -l <sums.1) 2" ]
metrics 'answers_total|fetches_total|stored_|disk_'

step "Ranges of the large file"
before=$(origin_requests)
last=$(((mib << 20) - 1))
for range in 0-0 0-1048575 1048570-1048590 "$((last / 2))-$((last / 2 + 3000000))" "$((last - 99))-" -500; do
    case $range in
    -*) wanted=$(tail -c "${range#-}" sites/1/large.bin | sum_of) ;;
    *) first=${range%-*} until=${range#*-}
        wanted=$(tail -c "+$((first + 1))" sites/1/large.bin | head -c "$((${until:-$last} - first + 1))" | sum_of || true) ;;
    esac
    got=$(fetch --http2 -r "$range" -D range.head "https://$domain/large.bin" | sum_of)
    check "bytes $range: $(head -1 range.head | tr -d '\r'), $(grep -i '^content-range' range.head | tr -d '\r')" [ "$got" = "$wanted" ]
done
status=$(curl -s -o /dev/null -w '%{http_code}' --cacert certificate.pem --connect-to "$domain:443:$https" -r "$((last + 1))-" "https://$domain/large.bin")
check "bytes $((last + 1))-, which are not there: 416" [ "$status" = 416 ]
say "      requests at the origin: $(($(origin_requests) - before))"

step "kill -9 of the edge, and a new one on the same --disk"
large_on_disk() { "$program" stored disk/edge-1 --url "https://$domain/large.bin"; }
all_written() { large_on_disk | grep " slices=$mib/$mib " >/dev/null; }
until_it all_written
large_on_disk | sed -n 's/^/      /;1p'
kill -9 "${pids[edge]}" && wait "${pids[edge]}" 2>/dev/null || true
began=$EPOCHREALTIME
start_edge 2
say "      ready after $(since "$began")"
until_it grep -q 'the cache directory is read' edge.2.out
say "      $(sed 's/\x1b\[[0-9;]*m//g' edge.2.out | grep -o 'the cache directory is read.*')"
"$program" stored disk/edge-1 | tail -1 | sed 's/^/      /'
before=$(origin_requests)
got=$(fetch -r 200000000-203000000 "https://$domain/large.bin" | sum_of)
wanted=$(tail -c +200000001 sites/1/large.bin | head -c 3000001 | sum_of || true)
check "bytes 200000000-203000000 of the large file" [ "$got" = "$wanted" ]
crawl_http2 got.warm
tail -n "+$((before + 1))" origin.log >warm.log
check "every file is the source's, byte for byte" same_tree got.warm sums.1
say "      requests at the origin: $(wc -l <warm.log)"
check "neither the tree nor the large file was asked for again" [ "$(wc -l <warm.log)" = 0 ]
metrics 'answers_total|fetches_total|stored_|disk_'

step "All content changes and is purged in the middle of a crawl"
cp -a sites/1 sites/2
find sites/2 -type f ! -name large.bin -exec sh -c 'for f; do echo "<!-- the second edition -->" >>"$f" && touch -d "5 days ago" "$f"; done' - {} +
sums sites/2 >sums.2
mkdir got.during
# In batches of ten, so that it is known when each began; over and over, until the purge is through and one turn more.
crawl_in_batches() {
    local turn began
    for turn in 1 2 3 4 5 6 7 8 9 10; do
        local last_turn=no
        [ ! -e purged ] || last_turn=yes
        grep -v large.bin all.txt | sed "s|^\./||" | xargs -n 10 | while read -r -a names; do
            began=$EPOCHREALTIME
            for name in "${names[@]}"; do printf 'url = https://%s/%s\noutput = batch/%s\n' "$domain" "$name" "$name"; done >batch.txt
            rm -rf batch
            fetch --http2 --create-dirs -K batch.txt || true
            (cd batch && find . -type f -exec sha256sum {} +) | sed "s|^|$began |"
        done
        [ "$last_turn" = no ] || return 0
    done
}
started() { [ "$(wc -l <during.txt)" -gt 200 ]; }
crawl_in_batches >during.txt &
pids[crawl]=$!
until_it started
ln -sfn sites/2 site.new && mv -T site.new site
purge_began=$EPOCHREALTIME
"$program" purge all --zone example.com --wait | sed 's/^/      /'
purge_ended=$EPOCHREALTIME
touch purged
wait "${pids[crawl]}"
awk -v began="$purge_began" -v ended="$purge_ended" '
    FILENAME == "sums.1" { first[$2] = $1; next }
    FILENAME == "sums.2" { second[$2] = $1; next }
    {
        edition = $2 == first[$3] ? 1 : $2 == second[$3] ? 2 : 0
        when = $1 < began ? "before the purge" : $1 < ended ? "while it was under way" : "after its success"
        count[when, edition]++
    }
    END {
        split("before the purge,while it was under way,after its success", whens, ",")
        for (i = 1; i <= 3; i++)
            printf "      asked for %-24s first edition %5d, second %5d, neither %d\n", \
                whens[i] ":", count[whens[i], 1], count[whens[i], 2], count[whens[i], 0]
        exit !(count[whens[3], 2] > 0 && !count[whens[3], 1] && !(count[whens[1], 0] + count[whens[2], 0] + count[whens[3], 0]))
    }' sums.1 sums.2 during.txt >editions.txt && held=true || held=false
cat editions.txt
check "what was asked for after the purge read success is the second edition, whole" $held
crawl_http2 got.purged
check "the whole tree is the second edition, byte for byte" same_tree got.purged sums.2

step "Purged with --method delete: gone from the disk"
tree_on_disk() { "$program" stored disk/edge-1 | grep -c "^$domain/.*\.html" || true; }
in_files() { grep -rlF 'the second edition' disk | wc -l || true; }
say "      before: $(tree_on_disk) pages listed by \"everfresh stored\", $(in_files) files with their text"
check "grep finds the text of pages on the disk" [ "$(in_files)" -gt 0 ]
began=$EPOCHREALTIME
"$program" purge prefix "https://$domain/" --method delete --wait | sed 's/^/      /'
none_listed() { [ "$(in_files)" = 0 ]; }
until_it none_listed
say "      no file has their text $(since "$began") after the purge was sent"
check "none is listed" [ "$(tree_on_disk)" = 0 ]
nothing_large() { large_on_disk | grep "^nothing of " >/dev/null; }
until_it nothing_large
large_on_disk | sed -n 's/^/      /;1p'
"$program" stored disk/edge-1 | sed 's/^/      /'

step "What the edge says in the end"
"$program" edges
"$program" task list
metrics 'answers_total|not_hit_total|fetches_total|fetches_repeated_total|broken_off_total|purge_|sweeps_total|swept_|stored_|disk_|sent_bytes|http2_floods'
fetch -o /dev/null "https://$domain/git.html"
"$program" inspect "https://$domain/git.html" --admin "$admin"
grep -E 'WARN|ERROR' edge.*.out control.out | sed 's/^/      /' || say "      no warning and no error in the logs"

step "$failures checks did not hold"
exit "$((failures > 0))"
