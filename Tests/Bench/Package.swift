// swift-tools-version: 6.2
// The load generator and the floor it is measured against: a package of its own, which depends on nothing of the
// product and of which the product knows nothing, so that measuring never changes what is measured.
import PackageDescription

let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]
let strictC: [CSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
  name: "tapline-bench",
  targets: [
    .executableTarget(name: "Load", dependencies: ["CBench"], swiftSettings: strict),
    .executableTarget(name: "Floor", cSettings: strictC),
    .target(
      name: "CBench", cSettings: strictC, linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
  ]
)
