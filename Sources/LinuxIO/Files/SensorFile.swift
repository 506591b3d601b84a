import Bounded
import CLinux

/// What a sensor's file is found by. Numbers in sysfs (`hwmon1`, `iio:device0`) move between boots, names do not.
public enum SensorKind: UInt8, BitwiseCopyable, Sendable {
  /// `file` alone: absolute, with the configured root in place of a leading `/sys`; or below the root.
  case file
  /// `class/hwmon/*/FILE` of the hwmon whose `name` is NAME; FILE as in `temp1_input`.
  case hwmon
  /// `class/thermal/thermal_zone*/temp` of the zone whose `type` is NAME; FILE in place of `temp` if given.
  case thermal
  /// `bus/iio/devices/*/FILE` of the device whose `name`, or whose device tree node (`bme280@76`), is NAME.
  case iio
  /// `bus/w1/devices/NAME/temperature`; FILE in place of `temperature` if given.
  case w1
}

/// Finds and reads a sensor's file. Blocks, for as long as the driver likes: on the slow lane only.
struct SensorFile {
  let root: FixedText<256>

  typealias Path = FixedText<512>

  /// The file's bytes into `content`, what is longer cut; or -errno: ENODEV when nothing has that name.
  func read(_ kind: SensorKind, name: Bytes, file: Bytes, into content: inout FixedText<256>) -> Int32 {
    var path = Path()
    let found = find(kind, name, file, &path)
    guard found >= 0 else { return found }
    return SensorFile.read(path, into: &content)
  }

  private func find(_ kind: SensorKind, _ name: Bytes, _ file: Bytes, _ path: inout Path) -> Int32 {
    switch kind {
    case .file:
      if file.hasPrefix(Bytes("/sys/")) {
        join(&path, Bytes(""), file.from(5))
      } else if file.hasPrefix(Bytes("/")) {
        path.append(file)
      } else {
        join(&path, Bytes(""), file)
      }
      return path.count < 512 ? 0 : -Int32(CLINUX_ENAMETOOLONG)
    case .w1:
      join(&path, Bytes("bus/w1/devices"), name)
    case .hwmon:
      guard scan(Bytes("class/hwmon"), Bytes(""), Bytes("name"), name, &path) else { return -Int32(CLINUX_ENODEV) }
    case .thermal:
      guard scan(Bytes("class/thermal"), Bytes("thermal_zone"), Bytes("type"), name, &path) else {
        return -Int32(CLINUX_ENODEV)
      }
    case .iio:
      guard scan(Bytes("bus/iio/devices"), Bytes("iio:device"), Bytes("name"), name, &path) else {
        return -Int32(CLINUX_ENODEV)
      }
    }
    path.append("/")
    if !file.isEmpty {
      path.append(file)
    } else if kind == .thermal {
      path.append("temp")
    } else {
      path.append("temperature")
    }
    return path.count < 512 ? 0 : -Int32(CLINUX_ENAMETOOLONG)
  }

  /// `path` becomes the entry of `folder` with the lowest number whose `attribute` file, or device tree node, says
  /// `name`.
  private func scan(_ folder: Bytes, _ prefix: Bytes, _ attribute: Bytes, _ name: Bytes, _ path: inout Path) -> Bool {
    join(&path, folder, .empty)
    let found = path.withBytes { folder in
      Directory.lowest(in: folder, prefix: prefix) { entry in
        says(folder, entry, attribute, name) || isNode(folder, entry, name)
      }
    }
    guard let found else { return false }
    path.append("/")
    return found.withBytes { path.append($0) }
  }

  private func says(_ directory: Bytes, _ entry: Bytes, _ attribute: Bytes, _ name: Bytes) -> Bool {
    var path = Path(directory)
    path.append("/")
    path.append(entry)
    path.append("/")
    path.append(attribute)
    var content = FixedText<256>()
    guard SensorFile.read(path, into: &content) >= 0 else { return false }
    return content.withBytes { content in
      let end = content.firstIndex(of: 10) ?? content.count
      return content.first(end) == name
    }
  }

  /// `of_node` is a link to the node: its last part is `bme280@76`.
  private func isNode(_ directory: Bytes, _ entry: Bytes, _ name: Bytes) -> Bool {
    var path = Path(directory)
    path.append("/")
    path.append(entry)
    path.append("/of_node")
    return path.withBytes { Directory.isLink($0, to: name) }
  }

  private func join(_ path: inout Path, _ folder: Bytes, _ rest: Bytes) {
    root.withBytes { _ = path.append($0) }
    for part in [folder, rest] where !part.isEmpty {
      path.append("/")
      path.append(part)
    }
  }

  private static func read(_ path: Path, into content: inout FixedText<256>) -> Int32 {
    let fd = path.withBytes { withPath($0) { clinux_open_read($0) } }
    guard fd >= 0 else { return fd }
    defer { _ = clinux_close(fd) }
    // read(2), not pread(2): a FIFO stands in for a slow sensor in tests.
    return Int32(content.fill { clinux_read(fd, $0.baseAddress!, $0.count) })
  }
}
