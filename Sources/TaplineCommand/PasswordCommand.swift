import LinuxIO
import Tapline
import TaplineConfiguration

/// `tapline passwd [-c] [-b] [-D] [-I N] FILE USER [PASSWORD]`.
struct PasswordCommand {
  private var creates = false
  private var isBatch = false
  private var deletes = false
  private var iterations: Int?
  private var file: [UInt8] = []
  private var user: [UInt8] = []
  /// Which argument the password is, with `-b`.
  private var passwordIndex = 0

  /// True when help was asked for.
  mutating func read(_ subcommand: Subcommand) throws(UsageError) -> Bool {
    var options = OptionReader(first: 1, name: subcommand.fullName, known: subcommand.options)
    while let option = try options.next() {
      switch option {
      case .create: creates = true
      case .batch: isBatch = true
      case .delete: deletes = true
      case .iterations:
        let range = 1...PasswordEntry.iterationsMaxDefault
        iterations = try Arguments.number(options.value, range, subcommand, .iterations)
      case .help: return true
      case .configuration, .boards, .board, .json, .budget, .clients, .times, .on, .bias, .directory, .name, .client,
        .renew, .days, .group, .version:
        break
      }
    }
    let words = options.rest(most: 2)
    passwordIndex = options.position + 2
    let isWhole = words.count == 2 && isGiven(passwordIndex) == isBatch && !isGiven(passwordIndex + 1)
    guard isWhole else {
      throw usage(isBatch ? "expected FILE USER PASSWORD after the options" : "expected FILE USER after the options")
    }
    guard !deletes || !creates else { throw usage("-c and -D do not go together") }
    guard !deletes || !isBatch else { throw usage("-b and -D do not go together; -D needs no password") }
    guard !deletes || iterations == nil else { throw usage("-I and -D do not go together; -D needs no password") }
    file = words[0]
    user = words[1]
    return false
  }

  private func isGiven(_ index: Int) -> Bool { Process.argument(index) != nil }

  private func usage(_ words: StaticString) -> UsageError {
    var text = Text("tapline passwd: ")
    text.add(words)
    text.endLine()
    return UsageError(text: text)
  }

  /// - Parameter tell: prints to standard error.
  func run(_ tell: (Text) -> Void) -> ExitStatus {
    SecretSource.refuseCoreDump()
    do throws(PasswordTool.Problem) {
      // Before anything else, so that ps(1) shows the password no longer than it must.
      let given = try isBatch ? take() : nil
      let tool = try PasswordTool(path: file, name: user, creates: creates)
      if let warning = tool.warning { tell(warning) }
      if deletes {
        try tool.delete()
      } else {
        let password = if let given { given } else { try ask(tell) }
        try tool.set(password, iterations: iterations ?? PasswordTool.iterationsDefault)
      }
      return .success
    } catch {
      var text = Text("tapline passwd: ")
      text.add(error.text)
      text.endLine()
      tell(text)
      return .fault
    }
  }

  private func take() throws(PasswordTool.Problem) -> Secret {
    do throws(SecretSource.Problem) {
      return try SecretSource.take(argument: passwordIndex)
    } catch {
      throw PasswordTool.Problem(text: PasswordCommand.text(error))
    }
  }

  /// Twice from a terminal, once from anything else.
  private func ask(_ tell: (Text) -> Void) throws(PasswordTool.Problem) -> Secret {
    let input: Int32 = 0
    let password: Secret
    let again: Secret
    do throws(SecretSource.Problem) {
      guard SecretSource.isTerminal(input) else { return try SecretSource.readLine(input) }
      password = try readHidden(input, "Password: ", tell)
      guard password.count > 0 else { return password }
      again = try readHidden(input, "Password again: ", tell)
    } catch {
      throw PasswordTool.Problem(text: PasswordCommand.text(error))
    }
    guard password.isEqual(to: again) else {
      throw PasswordTool.Problem(text: Text("the two passwords differ; nothing is changed"))
    }
    return password
  }

  private func readHidden(
    _ input: Int32, _ prompt: StaticString, _ tell: (Text) -> Void
  ) throws(SecretSource.Problem) -> Secret {
    defer { tell(Text("\n")) }  // the one that was typed is not shown either
    return try SecretSource.readHidden(input) { tell(Text(prompt)) }
  }

  private static func text(_ problem: SecretSource.Problem) -> Text {
    switch problem {
    case .interrupted: return Text("interrupted; nothing is changed")
    case .tooLong:
      var text = Text("the password is longer than ")
      text.add(Secret.byteCountMax, of: "byte")
      return text
    case .failed(let error):
      var text = Text("the password cannot be read: ")
      text.add(error.text)
      return text
    }
  }
}
