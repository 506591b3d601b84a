// swift-tools-version: 6.2
// The rooms of Tapline, top to bottom: imports go down only, and the build refuses an import that is not
// declared here (Makefile: --explicit-target-dependency-import-check error). docs/architecture.md says why.
import PackageDescription

let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]
/// What does not lie on a message's path: in the builds for boards it is made for size, where the scripts of `cross` ask
/// for it. Elsewhere the flag would keep other packages from using this one.
let forBoards = Context.environment["TAPLINE_COLD_FOR_SIZE"] != nil
let cold = strict + (forBoards ? [.unsafeFlags(["-Osize"])] : [])
/// In Embedded Swift a function is compiled again in each module that may call it, and the executable may call all of
/// them: the cold modules below it have an object with nothing in it. The others keep theirs, as they are not made for size.
let coldLibrary =
  strict + (forBoards ? [.unsafeFlags(["-Osize", "-Xfrontend", "-emit-empty-object-file"])] : [])
let strictC: [CSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
  name: "tapline",
  products: [
    .library(
      name: "Tapline",
      targets: [
        "Tapline", "TaplineConfiguration", "Gateway", "LinuxIO", "Layers", "TLS", "Taps", "MQTTBroker", "MQTTWire",
        "Bounded",
      ]),
    .executable(name: "tapline", targets: ["TaplineCommand"]),
  ],
  targets: [
    .executableTarget(
      name: "TaplineCommand",
      dependencies: ["Tapline", "TaplineConfiguration", "LinuxIO", "Taps", "CLinux", "CAllocations"],
      swiftSettings: cold),
    .executableTarget(
      name: "TaplineExample",
      dependencies: ["Tapline", "TaplineConfiguration", "LinuxIO", "Taps", "MQTTBroker", "MQTTWire", "Bounded"],
      swiftSettings: strict),
    .target(
      name: "Tapline",
      dependencies: [
        "TaplineConfiguration", "Gateway", "LinuxIO", "Layers", "TLS", "Taps", "MQTTBroker", "MQTTWire", "Bounded",
      ],
      swiftSettings: coldLibrary),
    .target(
      name: "TaplineConfiguration",
      dependencies: ["LinuxIO", "TLS", "Taps", "MQTTBroker", "MQTTWire", "Bounded", "CDigest", "CYAML"],
      swiftSettings: coldLibrary),
    .target(name: "Gateway", dependencies: ["Taps", "MQTTBroker", "MQTTWire", "Bounded"], swiftSettings: coldLibrary),
    .target(name: "LinuxIO", dependencies: ["Bounded", "CLinux", "CGPIOD"], swiftSettings: coldLibrary),
    .target(name: "Layers", dependencies: ["Bounded", "CDigest"], swiftSettings: coldLibrary),
    .target(name: "Taps", dependencies: ["MQTTWire", "Bounded"], swiftSettings: coldLibrary),
    .target(name: "MQTTBroker", dependencies: ["MQTTWire", "Bounded"], swiftSettings: strict),
    .target(name: "MQTTWire", dependencies: ["Bounded"], swiftSettings: strict),
    .target(name: "TLS", dependencies: ["Bounded", "COpenSSL"], swiftSettings: coldLibrary),
    .target(name: "Bounded", swiftSettings: strict),

    .target(name: "CLinux", cSettings: strictC),
    .target(name: "CAllocations", cSettings: strictC),
    .target(name: "CDigest", cSettings: strictC, linkerSettings: [.linkedLibrary("md")]),
    .target(name: "CGPIOD", cSettings: strictC, linkerSettings: [.linkedLibrary("gpiod")]),
    .target(name: "COpenSSL", cSettings: strictC),  // loads libssl when it is asked to, and does not link it
    .target(name: "CYAML", cSettings: strictC, linkerSettings: [.linkedLibrary("yaml")]),

    .testTarget(name: "BoundedTests", dependencies: ["Bounded"], swiftSettings: strict),
    .testTarget(name: "MQTTWireTests", dependencies: ["MQTTWire", "Bounded"], swiftSettings: strict),
    .testTarget(name: "MQTTBrokerTests", dependencies: ["MQTTBroker", "MQTTWire", "Bounded"], swiftSettings: strict),
    .testTarget(name: "TapsTests", dependencies: ["Taps", "MQTTWire", "Bounded"], swiftSettings: strict),
    .testTarget(
      name: "GatewayTests", dependencies: ["Gateway", "Taps", "MQTTBroker", "MQTTWire", "Bounded"],
      swiftSettings: strict),
    .testTarget(name: "LayersTests", dependencies: ["Layers", "Bounded", "CDigest"], swiftSettings: strict),
    .testTarget(name: "LinuxIOTests", dependencies: ["LinuxIO", "Bounded", "CLinux"], swiftSettings: strict),
    .testTarget(name: "TLSTests", dependencies: ["TLS", "Bounded", "COpenSSL"], swiftSettings: strict),
    .testTarget(
      name: "TaplineConfigurationTests",
      dependencies: [
        "TaplineConfiguration", "LinuxIO", "TLS", "Taps", "MQTTBroker", "MQTTWire", "Bounded", "CDigest", "CYAML",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "TaplineTests",
      dependencies: [
        "Tapline", "TaplineConfiguration", "Gateway", "LinuxIO", "Layers", "TLS", "Taps", "MQTTBroker", "MQTTWire",
        "Bounded",
      ],
      swiftSettings: strict),
  ]
)

/// One module and its tests: the others are neither compiled nor linked (`make unit ROOM=`).
if let room = Context.environment["TAPLINE_ROOM"], !room.isEmpty {
  var needed: Set<String> = []
  func need(_ name: String) {
    guard needed.insert(name).inserted, let target = package.targets.first(where: { $0.name == name }) else { return }
    for case .byNameItem(let dependency, _) in target.dependencies { need(dependency) }
  }
  need(room + "Tests")
  if room == "Tapline" { need("TaplineCommand") }  // its tests run the command
  package.targets.removeAll { !needed.contains($0.name) }
  package.products.removeAll { $0.name != "tapline" || !needed.contains("TaplineCommand") }
}
