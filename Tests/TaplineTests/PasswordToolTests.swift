import Bounded
import Foundation
import LinuxIO
import Tapline
import TaplineConfiguration
import Testing

@Suite("tapline passwd changes one user of a file") struct PasswordToolTests {
  private final class Folder {
    let path = NSTemporaryDirectory() + "/tapline-passwd-\(UUID().uuidString)"
    init() { try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    var file: String { path + "/users" }
    var text: String? { try? String(contentsOfFile: file, encoding: .utf8) }
    func write(_ text: String) { try! text.write(toFile: file, atomically: false, encoding: .utf8) }
    var names: [String] { try! FileManager.default.contentsOfDirectory(atPath: path).sorted() }
  }

  private func secret(_ text: String) -> Secret {
    let pipe = Pipe()
    pipe.fileHandleForWriting.write(Data((text + "\n").utf8))
    return try! SecretSource.readLine(pipe.fileHandleForReading.fileDescriptor)
  }

  private func tool(_ folder: Folder, _ name: String, creates: Bool = false) throws(PasswordTool.Problem)
    -> PasswordTool
  {
    try PasswordTool(path: [UInt8](folder.file.utf8), name: [UInt8](name.utf8), creates: creates)
  }

  /// What went wrong, without the file's name before it.
  private func problem(_ folder: Folder, _ body: () throws(PasswordTool.Problem) -> Void) -> String? {
    do throws(PasswordTool.Problem) {
      try body()
      return nil
    } catch {
      return String(decoding: error.text.bytes, as: UTF8.self).replacing(folder.file + ": ", with: "")
    }
  }

  /// Whether the file lets this user in.
  private func lets(_ folder: Folder, _ name: String, _ password: String) -> Bool {
    let region = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: Reservation.alignment)
    defer { region.deallocate() }
    region.initializeMemory(as: UInt8.self, repeating: 0)
    var reservation = Reservation(region: region)
    var table = PasswordTable(capacity: 8, in: &reservation)
    let text = [UInt8]((folder.text ?? "").utf8)
    let isGood = text.lend { table.fill(from: $0) { Issue.record("\($0)") } }
    let entry = [UInt8](name.utf8).lend { table.find($0) }
    return isGood && [UInt8](password.utf8).lend { entry?.matches($0) ?? false }
  }

  @Test func aFileIsMadeFilledAndEmptied() throws {
    let folder = Folder()
    try tool(folder, "anna", creates: true).set(secret("one"), iterations: 3)
    try tool(folder, "bob").set(secret("two"), iterations: 3)
    #expect(lets(folder, "anna", "one") && lets(folder, "bob", "two") && !lets(folder, "bob", "one"))
    try tool(folder, "anna").set(secret("three"), iterations: 5)
    #expect(lets(folder, "anna", "three") && !lets(folder, "anna", "one"))
    #expect(folder.text?.hasPrefix("anna:$7$5$") == true)
    try tool(folder, "anna").delete()
    #expect(!lets(folder, "anna", "three") && lets(folder, "bob", "two"))
    try tool(folder, "bob").delete()
    #expect(folder.text == "" && folder.names == ["users"])
  }

  @Test func whatIsRefusedChangesNothing() throws {
    let folder = Folder()
    #expect(
      problem(folder) { () throws(PasswordTool.Problem) in _ = try tool(folder, "anna") }
        == "there is no such file; make it with tapline passwd -c")
    folder.write("anna:x\n")
    let rows: [(String, Bool, String)] = [
      ("anna", true, "the file is there already; without -c the user is added to it"),
      ("", false, "the user name is empty"),
      ("a:b", false, "the user name has a colon, which ends a name in the file"),
    ]
    for (name, creates, said) in rows {
      let found = problem(folder) { () throws(PasswordTool.Problem) in _ = try tool(folder, name, creates: creates) }
      #expect(found == said)
    }
    let emptied = problem(folder) { () throws(PasswordTool.Problem) in
      try tool(folder, "anna").set(secret(""), iterations: 1)
    }
    #expect(emptied == "the password is empty")
    let unknown = problem(folder) { () throws(PasswordTool.Problem) in try tool(folder, "bob").delete() }
    #expect(unknown == "there is no user 'bob'")
    #expect(folder.text == "anna:x\n")
    folder.write("root:x:0:0:root:/root:/bin/bash\n")
    let foreign = problem(folder) { () throws(PasswordTool.Problem) in _ = try tool(folder, "anna") }
    #expect(foreign?.hasPrefix("line 1 is neither USER:HASH nor a comment") == true)
  }

  @Test(arguments: [(0o600, false), (0o640, false), (0o644, true)])
  func aFileThatOthersReadIsWarnedOf(mode: Int, warns: Bool) throws {
    let folder = Folder()
    folder.write("# x\n")
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: folder.file)
    #expect(try (tool(folder, "anna").warning != nil) == warns)
  }
}
