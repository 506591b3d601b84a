import Foundation
import TaplineConfiguration

/// The repository, from this file's place in it.
let repository = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

var profiles: BoardDirectories {
  BoardDirectories(option: [UInt8](repository.appendingPathComponent("board/profiles").path.utf8))
}

func readConfiguration(_ yaml: String, readsUserFiles: Bool = true) throws(ConfigurationErrors) -> Configuration {
  try Configuration(
    yaml: [UInt8](yaml.utf8), file: [UInt8]("t.yaml".utf8), boards: profiles, hostName: [UInt8]("pi".utf8),
    readsUserFiles: readsUserFiles)
}

/// What is printed about a wrong file, a line an error; empty when nothing is wrong.
func errorLines(_ yaml: [UInt8], readsUserFiles: Bool = true) -> [String] {
  do throws(ConfigurationErrors) {
    _ = try Configuration(
      yaml: yaml, file: [UInt8]("t.yaml".utf8), boards: profiles, hostName: [UInt8]("pi".utf8),
      readsUserFiles: readsUserFiles)
    return []
  } catch {
    return lines(of: error)
  }
}

func lines(of errors: ConfigurationErrors) -> [String] {
  String(decoding: errors.text.bytes, as: UTF8.self).split(separator: "\n").map(String.init)
}

func string(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
