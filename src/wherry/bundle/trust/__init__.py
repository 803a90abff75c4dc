"""Trust: TUF signatures on the publisher's side, their verification on the device's."""
