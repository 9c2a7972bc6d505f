"""What swanctl says about SAs."""

from lab.swanctl import ListedIkeSa, parse_ike_sas

LISTED = """\
geneveil-node2-192.0.2.1-192.0.2.2: #5, ESTABLISHED, IKEv2, 786f9c4e2917d80d_i* 3b8fd7d6392de599_r
  local  'node1' @ 192.0.2.1[500]
  remote 'node2' @ 192.0.2.2[500]
  AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519
  established 0s ago, rekeying in 13977s
  out: #10, reqid 1571392344, INSTALLED, TRANSPORT, ESP:AES_GCM_16-256/ESN
    installed 1s ago, rekeying in 3600s
    in  c38b3f58,      0 bytes,     0 packets
    out c483bd63, 505106 bytes,  1879 packets,     0s ago
    local  192.0.2.1/32[udp]
  in: #13, reqid 1962841064, INSTALLED, TRANSPORT, ESP:AES_GCM_16-256/CURVE_25519/ESN
    installed 0s ago, rekeying in 3600s
  in: #11, reqid 1962841064, DELETED, TRANSPORT, ESP:AES_GCM_16-256/CURVE_25519/ESN
geneveil-node2-192.0.2.1-192.0.2.2: #6, CONNECTING, IKEv2, 86f9c4e2917d80d7_i* 0000000000000000_r
geneveil-node2-192.0.2.1-192.0.2.2: #4, ESTABLISHED, IKEv2, 2e22dfc9148f78d4_i* 0c26f56e7a0246aa_r
  in: #9, reqid 1962841064, REKEYING, TRANSPORT, ESP:AES_GCM_16-256/CURVE_25519/ESN
"""


def test_ike_sas_are_told_apart() -> None:
    name = "geneveil-node2-192.0.2.1-192.0.2.2"
    assert parse_ike_sas(LISTED) == [
        ListedIkeSa(name, 5, {"out": 10, "in": 13}),
        ListedIkeSa(name, 4, {"in": 9}),
    ]
    assert parse_ike_sas("") == []
