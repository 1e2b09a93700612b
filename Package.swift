// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let collections: [Target.Dependency] = [
    .product(name: "BasicContainers", package: "swift-collections"),
    .product(name: "DequeModule", package: "swift-collections"),
]
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
]
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

/// A layer of the system. Layers point downwards only; docs/architecture.md draws them.
func layer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(of name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: name + "Tests", dependencies: [.byName(name: name)] + dependencies, swiftSettings: settings)
}

let package = Package(
    name: "kintsugi",
    products: [
        .executable(name: "kintsugi", targets: ["kintsugi"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["YAML"]),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // Pure: no clock, socket, file, thread, task, logger or random source of their own.
        .target(name: "CKintsugi"),
        layer("Replication", collections),
        layer("Formats", ["Replication", "CKintsugi"]),
        layer("Cache", ["Replication", "CKintsugi"] + collections),
        layer("Catalog", ["Replication"]),
        layer("NodeCore", ["Replication", "Formats", "Cache", "Catalog"] + collections),
        layer("Linearizability", ["Replication"]),
        layer(
            "Simulation",
            ["NodeCore", "Formats", "Replication", "Cache", "Catalog", "Linearizability"] + collections),

        // Shells: I/O.
        layer("Journal", ["Formats", "Replication", "CKintsugi"]),
        layer(
            "Transport",
            [
                "Formats", "Journal", "Replication", "CKintsugi", logging,
                .product(name: "Crypto", package: "swift-crypto"),
            ] + nio),
        layer("RedisServer", ["Cache", "Replication", logging] + nio + collections),
        layer(
            "Node",
            [
                "NodeCore", "Formats", "Replication", "Cache", "Catalog", "Journal", "Transport", "RedisServer",
                "CKintsugi", logging,
            ]
                + nio + collections),
        layer("LocalCluster", ["CKintsugi"]),
        layer("Bench", ["CKintsugi", .product(name: "Histogram", package: "hdrhistogram-swift")]),
        layer(
            "KintsugiCommand",
            [
                "Node", "LocalCluster", "Bench", "Simulation", "Journal", "Formats", "Catalog", "Replication",
                "CKintsugi", logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Yams", package: "Yams"),
            ]),
        .executableTarget(name: "kintsugi", dependencies: ["KintsugiCommand"], swiftSettings: settings),

        tests(of: "Replication"),
        tests(of: "Formats", ["Replication"]),
        tests(of: "Cache", ["Replication"]),
        tests(of: "Catalog", ["Replication"]),
        tests(of: "Journal", ["Formats", "Replication", "CKintsugi"]),
        tests(of: "Transport", ["Formats", "Replication", logging] + nio),
        tests(of: "RedisServer", ["Cache", "Replication", logging] + nio),
        tests(of: "Linearizability", ["Replication", "Cache"]),
        tests(of: "Simulation", ["NodeCore", "Formats", "Cache", "Replication"]),
        tests(of: "Bench"),
        tests(of: "KintsugiCommand", ["LocalCluster", "Node"]),
    ],
    swiftLanguageModes: [.v6]
)
