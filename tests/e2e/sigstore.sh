# A private Sigstore on loopback that carries the names of the public one, and the trust root that
# verifies what both cosigns write against it.
# shellcheck shell=bash disable=SC2154,SC2034

ISSUER=https://token.actions.githubusercontent.com
FULCIO=http://127.0.0.1:4003
REKOR1=http://127.0.0.1:4010 # what cosign 2 writes to; known to the trust root as rekor.sigstore.dev
REKOR2=http://127.0.0.1:4006 # what cosign 3 writes to
TSA=http://127.0.0.1:4009/api/v1/timestamp

start_sigstore() {
    mkdir -p "$STATE/sigstore/rekor2"
    cd "$STATE/sigstore" || exit
    make_keys
    start_issuer_and_ct_log
    start_fulcio
    start_rekor2_and_tsa
    start_rekor1
    cd "$STATE" || exit
}

await_sigstore() {
    cd "$STATE/sigstore" || exit
    wait_for fulcio 60 curl -sfo trust-bundle.json $FULCIO/api/v2/trustBundle
    jq -r '.chains[0].certificates[]' trust-bundle.json >fulcio.pem
    wait_for tsa 60 curl -sfo tsa.pem $TSA/certchain
    wait_for rekor-tiles 60 curl -sf $REKOR2/healthz
    wait_for rekor-server 90 curl -sfo rekor1.pub $REKOR1/api/v1/log/publicKey
    make_trust_root
    cd "$STATE" || exit
}

make_keys() {
    {
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=e2e issuer CA' \
            -keyout ca.key -out ca.crt
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=e2e issuer' \
            -CA ca.crt -CAkey ca.key -addext "subjectAltName=DNS:${ISSUER#https://}" \
            -addext basicConstraints=critical,CA:FALSE -keyout issuer.key -out issuer.crt
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out oidc.key
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ctlog.key
        openssl pkey -in ctlog.key -pubout -out ctlog.pub
        openssl genpkey -algorithm ED25519 -out rekor2.key
        openssl pkey -in rekor2.key -pubout -out rekor2.pub
    } 2>"$STATE/logs/keys.log" || give_up keys "openssl could not make the keys"
}

start_issuer_and_ct_log() {
    start issuer "$(tool python3)" "$HERE/sigstore.py" "$STATE/sigstore"
    wait_for issuer 20 curl -sf --cacert ca.crt $ISSUER/.well-known/openid-configuration
}

start_fulcio() {
    cat >fulcio.yaml <<YAML
oidc-issuers:
  $ISSUER: {issuer-url: $ISSUER, client-id: sigstore, type: github-workflow}
YAML
    start fulcio env SSL_CERT_FILE="$PWD/ca.crt" "$(tool fulcio)" serve --config-path fulcio.yaml --ca ephemeralca \
        --ct-log-url http://127.0.0.1:4001 --ct-log-public-key-path ctlog.pub \
        --host 127.0.0.1 --port 4003 --grpc-host 127.0.0.1 --grpc-port 4004 --metrics-port 4005 \
        --legacy-unix-domain-socket "$PWD/fulcio.sock"
}

# A Rekor v2 entry carries no time of its own, so a timestamp authority stands beside it.
start_rekor2_and_tsa() {
    start rekor-tiles "$(tool rekor-tiles)" serve --http-address=127.0.0.1 --http-port=4006 \
        --grpc-address=127.0.0.1 --grpc-port=4007 --http-metrics-port 4008 --hostname=rekor2.test \
        --storage-dir="$PWD/rekor2" --signer-filepath=rekor2.key --checkpoint-interval=1s
    start tsa "$(tool timestamp-server)" serve --host 127.0.0.1 --port 4009 --timestamp-signer=memory \
        --disable-ntp-monitoring
}

# ---- Rekor v1: PostgreSQL, Trillian's log server and signer, Rekor -----------------------------

start_rekor1() {
    start_postgres
    local database="postgresql:///trillian?host=$PWD/postgres&user=trillian"
    local trillian=(--storage_system=postgresql --quota_system=noop "--postgresql_uri=$database")
    start trillian-log-server "$(tool trillian_log_server)" "${trillian[@]}" \
        --rpc_endpoint=127.0.0.1:8090 --http_endpoint=127.0.0.1:8091
    start trillian-log-signer "$(tool trillian_log_signer)" "${trillian[@]}" \
        --rpc_endpoint=127.0.0.1:8092 --http_endpoint=127.0.0.1:8093 --force_master --sequencer_interval=200ms
    wait_for trillian-log-server 30 curl -sf http://127.0.0.1:8091/healthz
    start rekor-server "$(tool rekor-server)" serve --host 127.0.0.1 --port 4010 --log_type prod \
        --trillian_log_server.address 127.0.0.1 --trillian_log_server.port 8090 \
        --rekor_server.signer memory --rekor_server.hostname rekor.sigstore.dev --enabled_api_endpoints \
        getLogInfo,getPublicKey,getLogProof,createLogEntry,getLogEntryByIndex,getLogEntryByUUID
}

AS_NOBODY=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root

# A database cluster of the rig's own, on a socket only.
start_postgres() {
    local programs
    programs=$(dirname "$(readlink -f "$(tool initdb)")")
    mkdir postgres
    chown 65534:65534 postgres
    "${AS_NOBODY[@]}" "$programs/initdb" --pgdata="$PWD/postgres/data" --username=trillian --auth=trust --no-sync \
        --encoding=UTF8 --locale=C >"$STATE/logs/initdb.log" 2>&1 || give_up initdb "initdb failed"
    start postgres "${AS_NOBODY[@]}" "$programs/postgres" -D "$PWD/postgres/data" -k "$PWD/postgres" \
        -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off
    local psql=("$(tool psql)" --quiet --host="$PWD/postgres" --username=trillian --set=ON_ERROR_STOP=1)
    wait_for postgres 30 "${psql[@]}" --dbname=postgres --command='create database trillian'
    "${psql[@]}" --dbname=trillian --file="$(dirname "$(tool trillian_log_server)")/storage.sql" \
        >"$STATE/logs/schema.log" 2>&1 || give_up schema "PostgreSQL refused Trillian's schema"
}

# ---- what verifiers and signers are given ------------------------------------------------------

make_trust_root() {
    local since=start-time=2024-01-01T00:00:00Z
    local by=api-version=1,$since,operator=e2e
    {
        "$COSIGN3" trusted-root create --out "$TRUST_ROOT" \
            --fulcio="url=https://fulcio.sigstore.dev,certificate-chain=fulcio.pem,$since" \
            --ctfe="url=https://ctfe.sigstore.dev/test,public-key=ctlog.pub,$since" \
            --rekor="url=https://rekor.sigstore.dev,public-key=rekor1.pub,$since" \
            --rekor="url=https://rekor2.test,public-key=rekor2.pub,$since,origin=rekor2.test" \
            --tsa="url=https://tsa.test,certificate-chain=tsa.pem,$since"
        "$COSIGN3" signing-config create --out signing-config.json \
            --fulcio="url=$FULCIO,$by" --oidc-provider="url=$ISSUER,$by" \
            --rekor="url=$REKOR2,api-version=2,$since,operator=e2e" --rekor-config=ANY \
            --tsa="url=$TSA,$by" --tsa-config=ANY
    } >"$STATE/logs/trust-root.log" 2>&1 || give_up trust-root "cosign could not make the trust root"
}
