import Bounded
import CLinux

/// Where a sensor's device is found. Numbers in sysfs (`hwmon1`, `iio:device0`) move between boots, names do not.
public struct SensorPlace: BitwiseCopyable, Sendable {
  /// Below /sys: `class/hwmon`.
  public var folder: StaticString
  /// Entries of the folder that are devices begin so: `iio:device`.
  public var prefix: StaticString
  /// The file of an entry that says the device's name; the name of its device tree node (`bme280@76`) does, too. Empty:
  /// the entry itself is called so.
  public var attribute: StaticString

  public init(folder: StaticString, prefix: StaticString, attribute: StaticString) {
    self.folder = folder
    self.prefix = prefix
    self.attribute = attribute
  }
}

/// Finds and reads a sensor's file. Blocks, for as long as the driver likes: on the slow lane only.
struct SensorFile {
  let root: FixedText<256>

  typealias Path = FixedText<512>

  /// The file's bytes into `content`, what is longer cut; or -errno: ENODEV when nothing has that name.
  /// - Parameters:
  ///   - place: nil: `file` is a path, absolute with the configured root in place of a leading `/sys`, or below the root.
  ///   - name: of the device.
  ///   - file: of the device.
  func read(_ place: SensorPlace?, name: Bytes, file: Bytes, into content: inout FixedText<256>) -> Int32 {
    var path = Path()
    let found = place.map { find($0, name, file, &path) } ?? find(file, &path)
    guard found >= 0 else { return found }
    guard path.count < 512 else { return -Int32(CLINUX_ENAMETOOLONG) }
    return SensorFile.read(path, into: &content)
  }

  private func find(_ file: Bytes, _ path: inout Path) -> Int32 {
    if file.hasPrefix(Bytes("/sys/")) {
      join(&path, .empty, file.from(5))
    } else if file.hasPrefix(Bytes("/")) {
      path.append(file)
    } else {
      join(&path, .empty, file)
    }
    return 0
  }

  private func find(_ place: SensorPlace, _ name: Bytes, _ file: Bytes, _ path: inout Path) -> Int32 {
    if Bytes(place.attribute).isEmpty {
      join(&path, Bytes(place.folder), name)
    } else {
      guard scan(Bytes(place.folder), Bytes(place.prefix), Bytes(place.attribute), name, &path) else {
        return -Int32(CLINUX_ENODEV)
      }
    }
    path.append("/")
    path.append(file)
    return 0
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
