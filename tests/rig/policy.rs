//! Policies: the files of `policy/` as they are, and short ones of one authority.

/// `policy/kyverno-verify-images.yaml`, unchanged.
pub const KYVERNO: &str = include_str!("../../policy/kyverno-verify-images.yaml");
/// `policy/verify-images.yaml`: the same as an `ImagePolicy`.
pub const OURS: &str = include_str!("../../policy/verify-images.yaml");
/// `policy/default-deny.yaml`.
pub const DEFAULT_DENY: &str = include_str!("../../policy/default-deny.yaml");

/// The subject that the example policies ask for.
pub const EXPECTED_SUBJECT: &str = "https://github.com/zionsworking/*";

/// An `ImagePolicy` for `images` (a glob) with these further lines in `spec`, and with the authority
/// `workflows`, which is that of the example policies.
pub fn image_policy(name: &str, mode: &str, images: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: bonafide.dev/v1beta1\n\
         kind: ImagePolicy\n\
         metadata: {{name: {name}}}\n\
         spec:\n\
         \x20 mode: {mode}\n\
         \x20 match: {{images: [\"{images}\"]}}\n\
         \x20 authorities:\n\
         \x20   - name: workflows\n\
         \x20     keyless:\n\
         \x20       issuer: https://token.actions.githubusercontent.com\n\
         \x20       subject: \"{EXPECTED_SUBJECT}\"\n\
         {lines}"
    )
}

/// Asks for a signature.
pub const SIGNATURE: &str = "require: [{signature: {anyOf: [workflows]}}]";
/// Asks for a signed SPDX document.
pub const SBOM: &str = "require: [{attestation: {predicateType: https://spdx.dev/Document, anyOf: [workflows]}}]";
