import Testing

@Suite("Wrong listeners are told by line and column")
struct ConfigurationListenerErrorTests {
  static let listeners = [
    WrongCase(
      "listeners: 1883",
      "t.yaml:1:12: 'listeners' is '1883'; expected a list of listeners such as '- {address: 127.0.0.1, port: 1883}'"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, prot: 1883}",
      "t.yaml:2:26: unknown key 'prot' in a listener; did you mean 'port'?"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, port: 65536}",
      "t.yaml:2:32: 'port' is '65536'; expected a number from 1 to 65535"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, port: 99999999999999999999}",
      "t.yaml:2:32: 'port' is '99999999999999999999'; expected a number from 1 to 65535"),
    WrongCase(
      "listeners:\n  - {address: localhost}",
      "t.yaml:2:15: 'address' is 'localhost'; expected a numeric address such as 127.0.0.1, 0.0.0.0 or ::1"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.256}",
      "t.yaml:2:15: 'address' is '127.0.0.256'; expected a numeric address such as 127.0.0.1, 0.0.0.0 or ::1"),
    WrongCase(
      "listeners:\n  - {port: 1883}",
      "t.yaml:2:5: a listener without an address; expected 'address: 127.0.0.1', 'unix: /run/...' or 'serial: /dev/...'"
    ),
    WrongCase(
      "listeners:\n  - {address: 192.0.2.1}",
      "t.yaml:2:15: a listener on 192.0.2.1 lets everyone on the network in; expected 'users: {password_file: FILE}' in the "
        + "file, 'anonymous: true' beside it if that is wanted, or address 127.0.0.1"),
    WrongCase(
      "listeners:\n  - {address: '::'}",
      "t.yaml:2:15: a listener on :: lets everyone on the network in; expected 'users: {password_file: FILE}' in the file, "
        + "'anonymous: true' beside it if that is wanted, or address 127.0.0.1"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, anonymous: no}",
      "t.yaml:2:37: 'anonymous: false' would let nobody in; expected 'users: {password_file: FILE}' in the file, or no such "
        + "listener"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, anonymous: maybe}",
      "t.yaml:2:37: 'anonymous' is 'maybe'; expected true or false"),
    WrongCase(
      "listeners:\n  - {address: '::ffff:10.0.0.1', anonymous: yes}",
      "t.yaml:2:15: an IPv6 listener takes no IPv4 clients, so nobody reaches ::ffff:10.0.0.1; expected 10.0.0.1"),
    WrongCase(
      "listeners:\n  - {address: 'fe80::1', anonymous: yes}",
      "t.yaml:2:15: 'address' is 'fe80::1'; expected an address that this machine has once; link-local ones, fe80::/10, are "
        + "reached through ::"),
    WrongCase(
      "listeners:\n  - {address: 'fe80::1%eth0', anonymous: yes}",
      "t.yaml:2:15: 'address' is 'fe80::1%eth0'; expected an address that this machine has once; link-local ones, fe80::/10, "
        + "are reached through ::"),
    WrongCase(
      "listeners:\n  - {address: 'ff02::1', anonymous: yes}",
      "t.yaml:2:15: 'address' is 'ff02::1'; expected an address of one machine; nobody connects to one of many (multicast, "
        + "broadcast)"),
    WrongCase(
      "listeners:\n  - {address: '::1'}\n  - {address: '0:0::0:1'}",
      "t.yaml:3:5: a second listener on the same address; the first is at line 2"),
    WrongCase(
      "listeners:\n  - {address: 0.0.0.0, anonymous: yes}\n  - {address: '::', anonymous: yes}\n  - {address: 127.0.0.1}",
      "t.yaml:4:5: a second listener on the same address; the first is at line 2"),
    WrongCase(
      "listeners:\n  - {unix: /run/mqtt.sock}\n  - {unix: /run/mqtt.sock, mode: 600}",
      "t.yaml:3:5: a second listener on the same address; the first is at line 2"),
    WrongCase(
      "listeners:\n  - {unix: '@tapline', mode: 600}",
      "t.yaml:2:30: 'mode' goes with a socket file: a name that begins with @ has no permissions, any program may connect"
    ),
    WrongCase(
      "listeners:\n  - {unix: /run/tapline/}",
      "t.yaml:2:12: 'unix' is '/run/tapline/'; expected the path of a file, not of a directory"),
    WrongCase(
      "listeners:\n  - {unix: mqtt.sock}",
      "t.yaml:2:12: 'unix' is 'mqtt.sock'; expected a path that begins with /, or @NAME, of at most 107 bytes"),
    WrongCase(
      "listeners:\n  - {unix: /run/mqtt.sock, port: 1883}",
      "t.yaml:2:34: 'port' does not go with 'unix'; a listener has either an address or a socket file"),
    WrongCase(
      "listeners:\n  - {unix: /run/mqtt.sock, mode: 668}",
      "t.yaml:2:34: 'mode' is '668'; expected permission bits such as 660"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, mode: 660}",
      "t.yaml:2:32: 'mode' goes with 'unix' only: it is the socket file's permissions"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, framing: resink}",
      "t.yaml:2:35: 'framing' is 'resink'; expected disconnect or resync; did you mean 'resync'?"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1}\n  - {address: 127.0.0.1, port: 1883}",
      "t.yaml:3:5: a second listener on the same address; the first is at line 2"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0}\n  - {serial: /dev/ttyS0, baud: 9600}",
      "t.yaml:3:5: a second listener on the same address; the first is at line 2"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0, baud: 115000}",
      "t.yaml:2:32: 'baud' is '115000'; expected a rate such as 9600, 57600 or 115200; did you mean '115200'?"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0, parity: mark, flow: xon, framing: disconnect}",
      "t.yaml:2:34: 'parity' is 'mark'; expected none, even or odd",
      "t.yaml:2:46: 'flow' is 'xon'; expected none or rtscts",
      "t.yaml:2:60: 'framing' is 'disconnect'; expected resync"),
    WrongCase(
      "listeners:\n  - {serial: ttyS0}", "t.yaml:2:14: 'serial' is 'ttyS0'; expected a path that begins with /"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0, port: 1883}",
      "t.yaml:2:32: 'port' does not go with 'serial'; a listener has an address, a socket file or a serial device"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, baud: 9600}",
      "t.yaml:2:32: 'baud' goes with 'serial' only: it is the line's"),
    WrongCase(
      "listeners:\n  - 1883",
      "t.yaml:2:5: a listener is '1883'; expected keys and values",
      "t.yaml:2:5: a listener without an address; expected 'address: 127.0.0.1', 'unix: /run/...' or 'serial: /dev/...'"
    ),
  ]

  @Test(arguments: listeners) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }
}
