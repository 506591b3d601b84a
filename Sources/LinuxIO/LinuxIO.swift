// The kernel's side of Tapline: what the program asks of Linux and of libgpiod, one folder a subject.
//
//   Lanes/    threads beside the loop, for what may block: Lane and Mailbox, and the four that there are
//   Files/    files and directories, those of /sys among them: a sensor's, and a PWM channel's or LED's
//   Lines/    GPIO lines: found, requested, set, their edges; the simulated chip
//   Streams/  poller, listeners, connections, sockets from a service manager
//   Process/  arguments, environment, signals, clocks, mapped memory, the service manager
//   Log/      lines of the log, and which of them are written
//
// It owns every descriptor, thread and pointer that the kernel or a C library gives, each in a type that says who
// closes it. It knows no MQTT, no topic and no configuration, and decides nothing: a policy (how often is tried again,
// what is done without a sensor) is for the modules above. C is called here only, through CLinux and CGPIOD, and a
// negative result becomes a `LinuxError`. What blocks says so; the loop calls only what does not. After the start
// nothing here allocates, but for libgpiod while a line is requested.
//
// This file has what all folders share.

import Bounded
import CLinux

/// `result` of a shim, which is -errno when negative.
@discardableResult
func check(_ result: Int32) throws(LinuxError) -> Int32 {
  guard result >= 0 else { throw LinuxError(errno: -result) }
  return result
}

/// A C string's bytes without its NUL; they live as long as the string.
func bytes(fromCString text: UnsafePointer<CChar>) -> Bytes {
  var count = 0
  while text[count] != 0 { count += 1 }
  return Bytes(UnsafeRawPointer(text), count: count)
}

/// Longest path that is passed to the kernel; no sysfs, device or socket path comes near.
let pathBytesMax = 511

/// Calls `body` with `path` and a NUL after it. -ENAMETOOLONG over 511 bytes, -EINVAL with a NUL inside.
@inline(never) func withPath(_ path: Bytes, _ body: (UnsafePointer<CChar>) -> Int32) -> Int32 {
  guard path.count <= pathBytesMax else { return -Int32(CLINUX_ENAMETOOLONG) }
  guard !path.contains(0) else { return -Int32(CLINUX_EINVAL) }
  return withUnsafeTemporaryAllocation(byteCount: pathBytesMax + 1, alignment: 8) { buffer in
    buffer.copyMemory(from: path.buffer)
    buffer[path.count] = 0
    return buffer.withMemoryRebound(to: CChar.self) { body($0.baseAddress!) }
  }
}
