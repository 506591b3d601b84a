/// The version of Tapline, as `tapline --version` and `$SYS/broker/version` tell it.
public enum Version {
  public static var text: StaticString { "0.1.0" }
}
