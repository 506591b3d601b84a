import Testing

@Suite("Wrong layers of listeners are told by line and column")
struct ConfigurationLayerErrorTests {
  /// Keys behind an address that is right.
  private static func listener(_ keys: String, _ errors: String...) -> WrongCase {
    WrongCase("listeners:\n  - {address: 127.0.0.1, \(keys)}", list: errors)
  }

  static let cases = [
    listener(
      "protocols: websocket",
      "t.yaml:2:37: 'protocols' is 'websocket'; expected a list of mqtt and websocket, such as [mqtt, websocket]"),
    listener(
      "protocols: []",
      "t.yaml:2:37: 'protocols' is a list; expected a list of mqtt and websocket, such as [mqtt, websocket]"),
    listener(
      "protocols: [mqtt, ws]",
      "t.yaml:2:44: a protocol is 'ws'; expected mqtt or websocket; did you mean 'websocket'?"),
    listener("protocols: [http]", "t.yaml:2:38: a protocol is 'http'; expected mqtt or websocket"),
    listener("protocols: [[mqtt]]", "t.yaml:2:38: a protocol is a list; expected mqtt or websocket"),
    listener(
      "tls: {}", "t.yaml:2:31: 'tls' without 'certificate'; expected the path of a PEM file",
      "t.yaml:2:31: 'tls' without 'key'; expected the path of a PEM file"),
    listener(
      "tls: {certificate: a.pem, key: /k, minimum: 1.1}",
      "t.yaml:2:45: 'certificate' is 'a.pem'; expected a path that begins with /",
      "t.yaml:2:70: 'minimum' is '1.1'; expected 1.2 or 1.3; did you mean '1.2'?"),
    listener(
      "tls: {certificate: /c, key: /k, client_certificate: required}",
      "t.yaml:2:78: 'client_certificate' without 'ca'; expected the path of a PEM file with the authorities of clients"),
    listener(
      "tls: {certificate: /c, key: /k, ca: /a, crl: /r, identity: san}",
      "t.yaml:2:62: 'ca' \(clients)", "t.yaml:2:71: 'crl' \(clients)", "t.yaml:2:85: 'identity' \(clients)"),
    listener(
      "path: /mqtt", "t.yaml:2:32: 'path' goes with WebSocket only; expected 'protocols: [mqtt, websocket]' beside it"),
    listener(
      "protocols: [mqtt], origins: ['*']",
      "t.yaml:2:54: 'origins' goes with WebSocket only; expected 'protocols: [mqtt, websocket]' beside it"),
    listener(
      "protocols: [websocket], path: mqtt",
      "t.yaml:2:56: 'path' is 'mqtt'; expected a path that begins with /, without blanks, ? and #, such as /mqtt"),
    listener(
      "protocols: [websocket], path: '/a?b'",
      "t.yaml:2:56: 'path' is '/a?b'; expected a path that begins with /, without blanks, ? and #, such as /mqtt"),
    listener(
      "protocols: [websocket], path: '/a b'",
      "t.yaml:2:56: 'path' is '/a b'; expected a path that begins with /, without blanks, ? and #, such as /mqtt"),
    listener(
      "protocols: [websocket], origins: '*'",
      "t.yaml:2:59: 'origins' is '*'; expected a list of origins such as [\"https://ha.example\"]"),
    listener(
      "protocols: [websocket], origins: ['https://a.example/', 'a.example', '*', 'https://a b']",
      "t.yaml:2:60: an origin is 'https://a.example/'; \(origin)", "t.yaml:2:82: an origin is 'a.example'; \(origin)",
      "t.yaml:2:95: an origin is '*'; \(origin)", "t.yaml:2:100: an origin is 'https://a b'; \(origin)"),
    listener(
      "protocols: [websocket], proxies: [localhost, 10.0.0.1/8, '::1/129']",
      "t.yaml:2:60: a proxy is 'localhost'; \(proxy)", "t.yaml:2:71: a proxy is '10.0.0.1/8'; \(proxy)",
      "t.yaml:2:83: a proxy is '::1/129'; \(proxy)"),
    listener(
      "proxies: [10.0.0.1]",
      "t.yaml:2:35: 'proxies' without WebSocket has nothing to believe; expected 'proxy_protocol: true' beside it"),
    listener(
      "proxy_protocol: true",
      "t.yaml:2:42: 'proxy_protocol' without 'proxies' lets anybody name any address; expected 'proxies: [10.0.0.1]' "
        + "beside it"),
    listener(
      "proxy_protocol: v2, proxies: [10.0.0.1], protocols: [websocket]",
      "t.yaml:2:42: 'proxy_protocol' is 'v2'; expected true or false"),
    WrongCase(
      "listeners:\n  - {unix: '@a', proxy_protocol: true, proxies: [10.0.0.1]}",
      "t.yaml:2:49: 'proxies' does not go with 'unix', which has no addresses: 'proxy_protocol' alone believes who may open "
        + "the file"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0, protocols: [mqtt]}",
      "t.yaml:2:37: 'protocols' does not go with 'serial': a serial line speaks MQTT alone"),
  ]

  private static var origin: String {
    "expected scheme, host and perhaps port, such as https://ha.example, or '*' alone for every page"
  }
  private static var clients: String {
    "is for the certificates of clients; expected 'client_certificate: required' or optional beside it"
  }
  private static var proxy: String {
    "expected an address such as 10.1.2.3 or ::1, or a network such as 10.0.0.0/8, without bits behind its prefix"
  }

  @Test(arguments: cases) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }
}
