public import Bounded

/// PINGREQ, PINGRESP (§3.12, §3.13)  ┌───────────┬──────┐
///                                   │ 0xC0 0xD0 │ 0x00 │
///                                   └───────────┴──────┘
public enum Ping {
  public static func encodeRequest(into writer: inout ByteWriter) {
    writer.writeFixedHeader(.pingReq, flags: 0, remainingLength: 0)
  }

  public static func encodeResponse(into writer: inout ByteWriter) {
    writer.writeFixedHeader(.pingResp, flags: 0, remainingLength: 0)
  }
}
