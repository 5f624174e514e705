#!/bin/sh
# Does everything that the HTTP interface can do, with curl, and checks each reply.
#
#     kvpaxos up --allow-partitions             # in another terminal
#     docs/examples/curl_tour.sh                # or with the addresses of three other nodes:
#     docs/examples/curl_tour.sh http://10.0.0.1:8801 http://10.0.0.2:8801 http://10.0.0.3:8801
#
# All keys begin with tour-, and are removed at the end. SHUTDOWN=yes also stops the third node.
set -eu

n01=${1:-http://127.0.0.1:8801}
n02=${2:-http://127.0.0.1:8802}
n03=${3:-http://127.0.0.1:8803}
key=tour-$$

body=$(mktemp)
trap 'rm -f "$body"' EXIT

title() {
    printf '\n# %s\n' "$1"
}

# Runs curl, shows what it was asked and what came, and leaves that in $reply and $status.
ask() {
    printf '$ curl'
    for word; do
        case $word in
            *[!A-Za-z0-9_./:=@,+-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    status=$(curl --silent --show-error --output "$body" --write-out '%{http_code}' "$@")
    reply=$(cut -c 1-2000 "$body")
    printf '%s\n' "$reply" | cut -c 1-300
}

fail() {
    printf 'expected %s, but got %s with status %s\n' "$1" "$reply" "$status" >&2
    exit 1
}

# The last reply is this text, with status 200.
is() {
    [ "$reply" = "$1" ] && [ "$status" = 200 ] || fail "$1"
}

# The last reply has this text in it, and this status.
has() {
    case $reply in
        *"$1"*) [ "$status" = "${2:-200}" ] || fail "status $2" ;;
        *) fail "$1" ;;
    esac
}

ok='{"success":"true"}'

# A key becomes writable once the cluster has a leader.
title 'Is it alive, and does it serve?'
ask "$n01/healthz"
is "$ok"
ask --retry 20 --retry-delay 1 "$n01/readyz"
is "$ok"

title 'Insert stores a new key, once.'
ask -d "key=$key-color" -d value=blue "$n01/kv/insert"
is "$ok"
ask -d "key=$key-color" -d value=red "$n02/kv/insert"
has '"success":"false","message":"The key exists'
ask -X PUT -d "key=$key-put" -d value=blue "$n03/kv/put"
is "$ok"

title 'Any node knows it at once.'
for node in "$n01" "$n02" "$n03"; do
    ask "$node/kv/get?key=$key-color"
    is '{"success":"true","value":"blue"}'
done

title 'A stale read asks nobody else.'
ask "$n01/kv/get?key=$key-color&consistency=stale"
has '"success":"true"'

title 'Update and delete return what was there.'
ask -d "key=$key-color" -d value=green "$n02/kv/update"
is '{"success":"true","value":"blue"}'
ask -X DELETE "$n03/kv/delete?key=$key-put"
is '{"success":"true","value":"blue"}'
ask -d "key=$key-put" "$n01/kv/delete"
has '"success":"false","message":"There is no such key'
ask -d "key=$key-put" -d value=x "$n01/kv/update"
has '"success":"false","message":"There is no such key'
ask "$n01/kv/get?key=$key-put"
has '"success":"false","message":"There is no such key'

title 'Set does not mind; append returns what it makes.'
ask -d "key=$key-color" -d value=red "$n01/kv/set"
is "$ok"
ask -d "key=$key-color" -d value=dish "$n02/kv/append"
is '{"success":"true","value":"reddish"}'

title 'Compare and set; without expect the key must be absent.'
ask -d "key=$key-color" -d expect=reddish -d value=red "$n01/kv/cas"
is "$ok"
ask -d "key=$key-color" -d expect=blue -d value=green "$n01/kv/cas"
has '"value":"red"'
ask -d "key=$key-lock" -d value=mine "$n02/kv/cas"
is "$ok"
ask -d "key=$key-lock" -d value=yours "$n03/kv/cas"
has '"value":"mine"'

title 'Awkward text, in every way that parameters can be sent.'
ask -X POST "$n01/kv/set?key=$key-%20%26%3D&value=1%262%0A"
is "$ok"
ask --data-urlencode "key=$key- &=" --data-urlencode 'value=1&2 "quoted" 键' "$n01/kv/set"
is "$ok"
ask -H 'Content-Type: application/json' -d "{\"key\":\"$key- &=\",\"value\":\"1&2\"}" "$n01/kv/update"
is '{"success":"true","value":"1&2 \"quoted\" 键"}'
ask -F "key=$key- &=" -F 'value=by multipart' "$n02/kv/update"
is '{"success":"true","value":"1&2"}'
ask -H 'Content-Type:' -d "key=$key-%20%26%3D" "$n03/kv/delete"
is '{"success":"true","value":"by multipart"}'

title 'Bytes that are no text.'
ask -d "key=$key-raw" -d 'value=%FF%00' "$n01/kv/set"
is "$ok"
ask "$n02/kv/get?key=$key-raw"
is '{"success":"true","value":null,"value_base64":"/wA="}'
ask -d "key=$key-raw" -d value_base64=/wA= "$n03/kv/update"
is '{"success":"true","value":null,"value_base64":"/wA="}'
ask -F "key=$key-file" -F "value=<$0" "$n03/kv/set"
is "$ok"

title 'Exactly once: the same request again gets the same answer.'
for again in "$n01" "$n02"; do
    ask -d "key=$key-log" -d value=x -d "requestid=$key" "$again/kv/append"
    is '{"success":"true","value":"x"}'
done
ask -d "key=$key-log" -d value=y -d "id=$key" "$n03/kv/append"
has '"applied":"no"' 400
for again in "$n03" "$n02"; do
    ask -d "key=$key-log" -d value=y -d "client=$key" -d opid=2 "$again/kv/append"
    is '{"success":"true","value":"xy"}'
done
ask -d "key=$key-log" -d value=z -d "client=$key" -d opid=1 "$n01/kv/append"
has '"applied":"unknown"'
ask "$n01/kv/get?key=$key-log"
is '{"success":"true","value":"xy"}'

title 'A deadline of its own, and what a reply rests on.'
ask -d "key=$key-color" -d value=blue -d timeout=3 "$n01/kv/set"
is "$ok"
ask --head "$n02/kv/get?key=$key-color"
has 'X-Kvpaxos-Read: quorum'
has 'X-Kvpaxos-Slot: '
has 'X-Kvpaxos-Leader: n0'

title 'What makes no sense is refused, and nothing is changed.'
ask "$n01/kv/set?key=$key-color&value=x"
has '"applied":"no"' 405
ask -d value=x "$n01/kv/set"
has '"applied":"no"' 400
ask -d key= -d value=x "$n01/kv/set"
has '"applied":"no"' 400
ask -d "key=$key-color" "$n01/kv/set"
has '"applied":"no"' 400
ask -d "key=$key-color" -d value=x -d timeout=soon "$n01/kv/set"
has '"applied":"no"' 400
ask -H 'Content-Type: application/json' -d '{"key":' "$n01/kv/set"
has '"applied":"no"' 400
ask -d "key=$(printf '%5000s' '' | tr ' ' k)" -d value=x "$n01/kv/set"
has '"applied":"no"' 413
ask "$n01/kv/colour"
has '"applied":"no"' 404
ask -X OPTIONS "$n01/kv/set"
[ "$status" = 204 ] || fail 'status 204'

title 'All pairs, whole or in pages, and how many there are.'
ask "$n01/kvman/countkey"
has '{"result":'
ask "$n02/kvman/dump"
has "[\"$key-color\",\"blue\"]"
ask "$n03/kvman/dump?limit=1&after=$key-"
is "[[\"$key-color\",\"blue\"]]"

title 'A backup is everything in one file, which kvpaxos verify checks and kvpaxos restore reads.'
printf '$ curl -o monday.kvb %s\n' "$n02/kvman/backup"
status=$(curl --silent --show-error --output "$body" --write-out '%{http_code}' "$n02/kvman/backup")
reply=$(head -n 1 "$body")
is 'kvpaxos backup'

title 'The node itself.'
ask "$n01/kvman/status"
has '"role":'
ask "$n01/kvman/limits"
has '"value_bytes_max":'
ask "$n01/openapi.json"
has '"openapi":'
ask "$n01/kvman/journal?from=1&limit=2"
has '"slots":['

title 'Links can be cut and slowed, in both directions, and healed again.'
ask -d from=n01 -d to=n02 -d state=cut "$n01/kvman/links"
has '"state":"cut"'
ask -d from=n02 -d to=n01 -d delay=0.01 -d loss=0.1 "$n02/kvman/links"
has '"links":['
ask "$n03/kvman/links"
has '"links":['
for node in "$n01" "$n02"; do
    ask -d state=up -d delay=0 -d loss=0 "$node/kvman/links"
    has '"links":['
done

title 'Tidying up.'
for name in color lock raw file log; do
    ask -d "key=$key-$name" "$n01/kv/delete"
    has '"success":"true"'
done

if [ "${SHUTDOWN:-no}" = yes ]; then
    title 'A node can be told to stop.'
    ask -X POST "$n03/kvman/shutdown"
    is "$ok"
fi

printf '\nAll replies were as expected.\n'
