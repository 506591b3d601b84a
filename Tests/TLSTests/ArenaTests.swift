import COpenSSL
import Testing

/// The allocator alone, in regions of its own.
@Suite struct ArenaTests {
  /// A region with an arena in it.
  final class Region {
    let memory: UnsafeMutableRawBufferPointer
    let arena: OpaquePointer

    init(_ byteCount: Int) {
      memory = .allocate(byteCount: byteCount, alignment: 64)
      arena = copenssl_arena_make(memory.baseAddress, Int64(byteCount))!
    }

    deinit { memory.deallocate() }

    var used: Int { Int(copenssl_arena_figures(arena).used) }
    var refused: Int { Int(copenssl_arena_figures(arena).refused) }
    var capacity: Int { Int(copenssl_arena_figures(arena).capacity) }
    func take(_ byteCount: Int) -> UnsafeMutableRawPointer? { copenssl_arena_take(arena, byteCount) }
    func giveBack(_ place: UnsafeMutableRawPointer?) { copenssl_arena_give_back(arena, place) }
  }

  @Test func aRegionThatIsTooSmallHasNoArena() {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)
    defer { memory.deallocate() }
    #expect(copenssl_arena_make(memory.baseAddress, 64) == nil)
    #expect(copenssl_arena_make(memory.baseAddress! + 8, 4000) == nil)
    #expect(copenssl_arena_make(memory.baseAddress, 4096) != nil)
  }

  @Test func blocksAreAlignedAndTakeEightBytesMore() {
    let region = Region(65536)
    let cases = [(1, 16), (8, 16), (9, 32), (24, 32), (25, 48), (1000, 1008), (4096, 4112)]
    for (byteCount, block) in cases {
      let place = region.take(byteCount)
      #expect(UInt(bitPattern: place) % 16 == 0)
      #expect(region.used == block)
      region.giveBack(place)
      #expect(region.used == 0)
    }
    #expect(region.take(0) == nil)
    #expect(region.refused == 0)
  }

  /// In pieces of any size it is filled to the last block, and is whole again afterwards.
  @Test(arguments: [1, 24, 100, 1000, 5000]) func aFullArenaRefusesAndComesBack(_ byteCount: Int) {
    let region = Region(65536)
    var places: [UnsafeMutableRawPointer] = []
    while let place = region.take(byteCount) { places.append(place) }
    #expect(region.refused == 1)
    #expect(region.capacity - region.used < (byteCount + 8 + 15) / 16 * 16)
    for index in stride(from: 0, to: places.count, by: 2) { region.giveBack(places[index]) }
    for index in stride(from: 1, to: places.count, by: 2) { region.giveBack(places[index]) }
    #expect(region.used == 0)
    let whole = region.take(region.capacity - 8)
    #expect(whole != nil)
    #expect(region.used == region.capacity)
    #expect(copenssl_arena_figures(region.arena).peak == Int64(region.capacity))
  }

  @Test func resizingKeepsWhatIsThere() {
    let region = Region(65536)
    let place = copenssl_arena_resize(region.arena, nil, 100)!
    for index in 0..<100 { place.storeBytes(of: UInt8(index), toByteOffset: index, as: UInt8.self) }
    let grown = copenssl_arena_resize(region.arena, place, 5000)!
    #expect(grown == place)  // nothing lies behind it
    let wall = region.take(100)
    let moved = copenssl_arena_resize(region.arena, grown, 10000)!
    #expect(moved != grown)
    for index in 0..<100 { #expect(moved.load(fromByteOffset: index, as: UInt8.self) == UInt8(index)) }
    #expect(copenssl_arena_resize(region.arena, moved, 1 << 20) == nil)
    #expect(moved.load(fromByteOffset: 99, as: UInt8.self) == 99)
    let shrunk = copenssl_arena_resize(region.arena, moved, 50)!
    #expect(shrunk == moved)
    region.giveBack(wall)
    #expect(copenssl_arena_resize(region.arena, shrunk, 0) == nil)
    #expect(region.used == 0)
  }

  @Test func theNumberedRequestIsRefusedOnce() {
    let region = Region(4096)
    copenssl_arena_refuse(region.arena, 2)
    #expect(region.take(16) != nil)
    #expect(region.take(16) == nil)
    #expect(region.take(16) != nil)
    #expect(region.refused == 1)
  }

  /// Against a model: no two blocks overlap, what is in them stays, and the sum is right.
  @Test(arguments: [UInt64(1), 2, 3]) func seededLife(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let region = Region(200_000)
    var lent: [(place: UnsafeMutableRawPointer, count: Int, mark: UInt8)] = []
    func fill(_ place: UnsafeMutableRawPointer, _ count: Int) -> UInt8 {
      let mark = UInt8.random(in: 0...255, using: &random)
      place.initializeMemory(as: UInt8.self, repeating: mark, count: count)
      return mark
    }
    for _ in 0..<20_000 {
      let size = Int.random(in: 1...(Bool.random(using: &random) ? 60 : 6000), using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0, 1:
        guard let place = region.take(size) else { break }
        lent.append((place, size, fill(place, size)))
      case 2 where !lent.isEmpty:
        let index = Int.random(in: 0..<lent.count, using: &random)
        let entry = lent[index]
        guard let place = copenssl_arena_resize(region.arena, entry.place, size) else { break }
        let isKept = (0..<min(size, entry.count)).allSatisfy {
          place.load(fromByteOffset: $0, as: UInt8.self) == entry.mark
        }
        #expect(isKept)
        lent[index] = (place, size, fill(place, size))
      default:
        guard !lent.isEmpty else { break }
        let entry = lent.remove(at: Int.random(in: 0..<lent.count, using: &random))
        let isKept = (0..<entry.count).allSatisfy {
          entry.place.load(fromByteOffset: $0, as: UInt8.self) == entry.mark
        }
        #expect(isKept)
        region.giveBack(entry.place)
      }
    }
    #expect(region.used == lent.reduce(0) { $0 + ($1.count + 8 + 15) / 16 * 16 })
    for entry in lent { region.giveBack(entry.place) }
    #expect(region.used == 0)
    #expect(region.take(region.capacity - 8) != nil)
  }
}
