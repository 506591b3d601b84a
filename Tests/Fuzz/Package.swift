// swift-tools-version: 6.2
// The fuzz targets: a package of its own, because sanitizers and coverage are flags that a library must not carry.
// `run` builds it with them; nothing here is built otherwise.
import PackageDescription

let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
  name: "tapline-fuzz",
  dependencies: [.package(name: "tapline", path: "../..")],
  targets: [
    .executableTarget(
      name: "Fuzz",
      dependencies: [
        "CFuzz", "Testing", .product(name: "Tapline", package: "tapline"),
      ],
      swiftSettings: strict),
    .target(name: "Testing", swiftSettings: strict),
    .target(name: "CFuzz", cSettings: [.treatAllWarnings(as: .error)]),
  ]
)
