/// What the wire tables of Tests/MQTTWireTests, which are the seeds here, need of the module of this name.
public protocol CustomTestStringConvertible {
  var testDescription: String { get }
}
