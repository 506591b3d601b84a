import Bounded
import Foundation
import Glibc
import Testing

@testable import LinuxIO

@Suite("Files with their owners and permissions") struct FileStatusTests {
  private let directory = TemporaryDirectory()

  /// The bytes and the status, or the error.
  private func read(_ path: String, byteCountMax: Int = 64) -> Result<(String, FileStatus), LinuxError> {
    var place = [UInt8](repeating: 0xEE, count: byteCountMax)
    return withBytes(path) { path in
      place.withUnsafeMutableBytes { place in
        do throws(LinuxError) {
          let (byteCount, status) = try Files.read(path, into: place)
          return .success((String(decoding: place[..<byteCount], as: UTF8.self), status))
        } catch {
          return .failure(error)
        }
      }
    }
  }

  private func error(_ path: String, byteCountMax: Int = 64) -> LinuxError? {
    switch read(path, byteCountMax: byteCountMax) {
    case .success: nil
    case .failure(let error): error
    }
  }

  private func mode(_ path: String) -> UInt32 {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
  }

  @Test func readsAFileOfUpToThePlacesSize() throws {
    for text in ["", "a", "12345678"] {
      directory.file("file", text)
      #expect(try read(directory.path + "/file", byteCountMax: 8).get().0 == text)
    }
    directory.file("file", "123456789")
    #expect(error(directory.path + "/file", byteCountMax: 8) == .fileTooLarge)
    #expect(error(directory.path + "/file", byteCountMax: 0) == .fileTooLarge)
  }

  /// Without a writer, opening a FIFO would wait without end.
  @Test func whatIsNoRegularFileIsRefusedAtOnce() {
    directory.fifo("fifo")
    #expect(error(directory.path + "/fifo") == .invalid)
    #expect(error("/dev/null") == .invalid)
    #expect(error(directory.path) == .isDirectory)
    #expect(error(directory.path + "/none") == .noEntry)
    #expect(error(String(repeating: "x", count: 600)) == .nameTooLong)
  }

  @Test(
    arguments: [
      (0o600, false), (0o640, false), (0o670, false), (0o604, true), (0o602, true), (0o601, true), (0o777, true),
    ] as [(UInt32, Bool)])
  func othersAreThoseWhoAreNeitherOwnerNorGroup(permissions: UInt32, isOpen: Bool) throws {
    directory.file("file", "x")
    #expect(chmod(directory.path + "/file", permissions) == 0)
    let status = try read(directory.path + "/file").get().1
    #expect(status.permissions == permissions && status.isOpenToOthers == isOpen)
    #expect(status.owner == getuid() && status.group == getgid())
  }

  @Test(arguments: [0o600, 0o400, 0o640, 0o644, 0o660] as [UInt32])
  func aReplacedFileKeepsItsPermissions(permissions: UInt32) throws {
    let path = directory.path + "/file"
    directory.file("file", "old")
    #expect(chmod(path, permissions) == 0)
    let status = try read(path).get().1
    try withBytes(path) { path in try withBytes("new") { try Files.replace(path, with: $0, keeping: status) } }
    #expect(try read(path).get().0 == "new" && mode(path) == permissions)
    #expect(mode(path + ".new") == 0)
  }

  @Test(.enabled(if: getuid() == 0)) func aReplacedFileKeepsItsOwner() throws {
    let path = directory.path + "/file"
    directory.file("file", "old")
    #expect(chown(path, 4711, 4712) == 0)
    let status = try read(path).get().1
    try withBytes(path) { path in try withBytes("new") { try Files.replace(path, with: $0, keeping: status) } }
    let new = try read(path).get()
    #expect(new.0 == "new" && new.1.owner == 4711 && new.1.group == 4712)
  }

  @Test func aNewFileIsForItsOwnerOnly() throws {
    let path = directory.path + "/file"
    try withBytes(path) { path in try withBytes("new") { try Files.createPrivate(path, with: $0) } }
    #expect(try read(path).get().0 == "new" && mode(path) == 0o600)
  }

  @Test func aFolderThatIsNotThereIsAnError() {
    let path = directory.path + "/none/file"
    #expect(throws: LinuxError.noEntry) {
      try withBytes(path) { path in try withBytes("new") { try Files.createPrivate(path, with: $0) } }
    }
  }

  @Test func links() throws {
    directory.file("file", "x")
    try FileManager.default.createSymbolicLink(atPath: directory.path + "/link", withDestinationPath: "file")
    for (name, isLink) in [("link", true), ("file", false), ("none", false)] {
      #expect(withBytes(directory.path + "/" + name) { Files.isLink($0) } == isLink)
    }
  }

  @Test func aPublicFileIsReadableWhateverTheUmask() throws {
    let path = directory.path + "/public"
    for text in ["one", "another"] {
      let before = umask(0o077)
      try withBytes(path) { path in try withBytes(text) { try Files.createPublic(path, with: $0) } }
      umask(before)
      #expect(try read(path).get().0 == text && mode(path) == 0o644)
    }
  }

  @Test func aGroupIsGivenAFile() throws {
    directory.file("key", "secret")
    let path = directory.path + "/key"
    let group = getuid() == 0 ? 4711 : getgid()
    for _ in 0..<2 {
      chmod(path, 0o600)
      try withBytes(path) { try Files.share($0, withGroup: group) }
      let (content, status) = try read(path).get()
      #expect(mode(path) == 0o640 && status.group == group && content == "secret")
    }
    #expect(errno { try withBytes(path + "x") { try Files.share($0, withGroup: group) } } == ENOENT)
  }

  @Test func aDirectoryHasAnAbsolutePathWithoutLinks() throws {
    let real = String(cString: try #require(realpath(directory.path, nil)))
    directory.file("file", "")
    symlink(real, directory.path + "/link")
    for end in ["", "/", "/.", "/link", "/link/link/."] {
      let found = try withBytes(directory.path + end) { try Files.directory($0) }
      #expect(String(decoding: found, as: UTF8.self) == real, "\(end)")
    }
    #expect(errno { try withBytes(directory.path + "/file") { _ = try Files.directory($0) } } == ENOTDIR)
    #expect(errno { try withBytes(directory.path + "/none") { _ = try Files.directory($0) } } == ENOENT)
    #expect(errno { try withBytes("") { _ = try Files.directory($0) } } == ENOENT)
  }
}
