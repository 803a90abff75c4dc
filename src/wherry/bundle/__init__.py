"""Bundle: proven variants in, one signed file out; on the other side, trusted bytes out of it and nothing else.

`pack` writes an unsigned folder, `trust.sign` makes the one portable file, `trust.verify` turns it into `Trusted`,
`fetch_blobs` and `write_release` put what was trusted on a device. Every byte is described in `docs/formats.md`.
"""
