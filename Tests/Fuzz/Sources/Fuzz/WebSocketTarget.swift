import Bounded
import Layers

/// Any bytes, cut anywhere, as a client's frames: what comes out is what a naive model reads off the whole stream.
///
/// Input: the number of cuts, the cuts (taken round and round), the stream.
func fuzzWebSocket(_ input: inout Input) {
  let cuts = input.take(input.below(9)).map { Int($0) }
  let stream = input.rest()
  let expected = modelEvents(stream)
  for sizes in [[stream.count], [stream.count < 200 ? 1 : 61], cuts.isEmpty ? [7] : cuts] {
    let feed = WebSocketFeed.run(stream, sizes: sizes)
    check(feed.problem == nil, feed.problem ?? "")
    check(feed.events == expected, "\(feed.events) instead of \(expected), pieces of \(sizes)")
    check(feed.stepCount <= stream.count * 2 + 1, "\(feed.stepCount) steps of \(stream.count) bytes")
  }
}

/// Frames of every kind, some of them wrong.
func webSocketSeeds() -> [[UInt8]] {
  let connect: [UInt8] = [0x10, 0x0C, 0, 4, 0x4D, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 0]
  let fragments = frame(2, [1, 2], isFinal: false) + frame(9, [3]) + frame(0, [], isFinal: false) + frame(0, [4])
  let streams: [[UInt8]] = [
    frame(2, connect), frame(2, connect, key: [0, 0, 0, 0]), fragments, frame(8, [0x03, 0xE8]) + [1], frame(8, []),
    frame(8, [0x03]), frame(10, [1]), frame(2, [UInt8](repeating: 7, count: 126)), frame(1, [0x41]),
    frame(2, [UInt8](repeating: 7, count: 300)) + frame(9, [UInt8](repeating: 8, count: 125)),
    [0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9, 1, 2, 3], [0x82, 0xFE, 0, 125, 1, 2, 3, 4], [0x89, 0xFE], [0x80],
  ]
  let pieces: [[UInt8]] = [[0], [2, 1, 5]]
  let morePieces: [UInt8] = [3, 9, 2, 30]
  var seeds: [[UInt8]] = []
  for stream in streams {
    for some in pieces { seeds.append(some + stream) }
    seeds.append(morePieces + stream + stream)
  }
  return seeds
}
