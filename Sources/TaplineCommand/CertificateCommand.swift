import LinuxIO
import Tapline
import TaplineConfiguration

/// `tapline cert [-d DIR] [--name NAME]... [--client USER]... [--renew] [--days N] [--group GROUP]`.
struct CertificateCommand {
  private var wish = CertificateWish()

  /// True when help was asked for.
  mutating func read(_ subcommand: Subcommand) throws(UsageError) -> Bool {
    var options = OptionReader(first: 1, name: subcommand.fullName, known: subcommand.options)
    while let option = try options.next() {
      switch option {
      case .directory: wish.directory = options.value
      case .name: wish.names.append(options.value)
      case .client: wish.clients.append(options.value)
      case .renew: wish.renews = true
      case .days: wish.days = try Arguments.number(options.value, 2...CertificateTool.authorityDays, subcommand, .days)
      case .group: wish.group = options.value
      case .help: return true
      case .configuration, .boards, .board, .json, .budget, .clients, .times, .on, .bias, .create, .batch, .delete,
        .iterations, .version:
        break
      }
    }
    try options.end()
    guard !wish.renews || wish.clients.isEmpty || wish.names.isEmpty else {
      throw UsageError(
        text: Text("tapline cert: --renew with --client makes the client's certificate anew, which has no --name\n"))
    }
    return false
  }

  /// - Parameters:
  ///   - print: to standard output; false when that fails.
  ///   - tell: to standard error.
  func run(_ print: (Text) -> Bool, _ tell: (Text) -> Void) -> ExitStatus {
    SecretSource.refuseCoreDump()
    do throws(CertificateTool.Problem) {
      var tool = try CertificateTool(wish, on: .here)
      do throws(CertificateTool.Problem) {
        try tool.run()
      } catch {
        _ = print(tool.text)  // what was made stays
        throw error
      }
      return print(tool.text) ? .success : .fault
    } catch {
      var text = Text("tapline cert: ")
      text.add(error.text)
      text.endLine()
      tell(text)
      return .fault
    }
  }
}
