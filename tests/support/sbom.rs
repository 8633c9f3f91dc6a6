//! Predicates to attest with.

use serde_json::{Value, json};

/// Predicate type of `cosign attest --type spdxjson`.
pub const SPDX: &str = "https://spdx.dev/Document";
/// Predicate type of a SLSA v1 provenance.
pub const SLSA: &str = "https://slsa.dev/provenance/v1";
/// Predicate type of `cosign attest --type vuln`.
pub const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

/// A small, valid SPDX 2.3 document: an application and two libraries.
pub fn spdx() -> Value {
    let package = |name: &str, version: &str, licence: &str, purl: &str| {
        json!({
            "SPDXID": format!("SPDXRef-Package-{name}"),
            "name": name,
            "versionInfo": version,
            "supplier": "Organization: zionsworking",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": licence,
            "licenseDeclared": licence,
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl,
            }],
        })
    };
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "cicd-supply-chain-security-1.0.0",
        "documentNamespace":
            "https://github.com/zionsworking/cicd-supply-chain-security/spdx/1.0.0",
        "creationInfo": {
            "created": "2026-01-01T00:00:00Z",
            "creators": ["Organization: zionsworking", "Tool: example-1.0"],
        },
        "packages": [
            package("app", "1.0.0", "Apache-2.0",
                "pkg:github/zionsworking/cicd-supply-chain-security@1.0.0"),
            package("openssl", "3.5.4", "Apache-2.0", "pkg:apk/alpine/openssl@3.5.4"),
            package("zlib", "1.3.1", "Zlib", "pkg:apk/alpine/zlib@1.3.1"),
        ],
        "relationships": [
            relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Package-app"),
            relation("SPDXRef-Package-app", "DEPENDS_ON", "SPDXRef-Package-openssl"),
            relation("SPDXRef-Package-app", "DEPENDS_ON", "SPDXRef-Package-zlib"),
        ],
    })
}
