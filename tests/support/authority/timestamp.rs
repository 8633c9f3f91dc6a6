//! RFC 3161 time stamps.

use jiff::Timestamp;

use super::super::der;
use super::certificate::{Certified, ecdsa_with_sha256, fingerprint};
use super::key::sha256;

const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";

/// A granted `TimeStampResp` by `signer` over `message` at `time`, with the certificates of `bag`.
pub fn time_stamp(signer: &Certified, bag: &[&Certified], message: &[u8], time: Timestamp) -> Vec<u8> {
    let mut serial = [0x5a; 16];
    aws_lc_rs::rand::fill(&mut serial[1..]).expect("randomness");
    let imprint = der::sequence(&[der::sequence(&[der::oid(SHA256), der::null()]), der::octets(&sha256(message))]);
    let info = der::sequence(&[
        der::integer(1),
        der::oid("1.3.6.1.4.1.57264.2"),
        imprint,
        der::unsigned(&serial),
        der::generalized_time(time),
        der::sequence(&[der::integer(1)]), // accurate to a second
        der::context(0, &der::context(4, &signer.subject)),
    ]);
    let content = der::sequence(&[der::oid(TST_INFO), der::context(0, &der::octets(&info))]);
    let bag: Vec<_> = bag.iter().map(|certificate| certificate.der.clone()).collect();
    let signed = der::sequence(&[
        der::integer(3),
        der::set(&[der::sequence(&[der::oid(SHA256)])]),
        content,
        der::context(0, &der::sorted(&bag).concat()), // empty as a rule: the verifier has the chain
        der::set(&[signer_info(signer, &info, time)]),
    ]);
    let token = der::sequence(&[der::oid("1.2.840.113549.1.7.2"), der::context(0, &signed)]);
    der::sequence(&[der::sequence(&[der::integer(0)]), token])
}

fn signer_info(signer: &Certified, info: &[u8], time: Timestamp) -> Vec<u8> {
    let attribute = |oid: &str, value: Vec<u8>| der::sequence(&[der::oid(oid), der::set(&[value])]);
    let issuer_name = der::sequence(&[der::context(4, &signer.issuer)]);
    let serial = der::unsigned(&signer.serial);
    let certificate =
        der::sequence(&[der::octets(&fingerprint(signer)), der::sequence(&[issuer_name, serial.clone()])]);
    let attributes = der::sorted(&[
        attribute("1.2.840.113549.1.9.3", der::oid(TST_INFO)),
        attribute("1.2.840.113549.1.9.5", der::utc_time(time)),
        attribute("1.2.840.113549.1.9.4", der::octets(&sha256(info))),
        attribute("1.2.840.113549.1.9.16.2.47", der::sequence(&[der::sequence(&[certificate])])),
    ])
    .concat();
    // RFC 5652, 5.4: signed as a SET OF, sent as [0] IMPLICIT.
    let signature = signer.key.sign(&der::tlv(0x31, &attributes));
    der::sequence(&[
        der::integer(1),
        der::sequence(&[signer.issuer.clone(), serial]),
        der::sequence(&[der::oid(SHA256)]),
        der::context(0, &attributes),
        ecdsa_with_sha256(),
        der::octets(&signature),
    ])
}
