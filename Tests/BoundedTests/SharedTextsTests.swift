import Testing

@testable import Bounded

struct SharedTextsTests {
  @Test(arguments: [(0, 3), (2, 0), (2, 5), (2, 13)]) func behavesLikeAnArrayWithASharedStore(sure: Int, shared: Int) {
    let owners = 3
    let rows = 4
    let sureCells = sure + shared / (2 * owners)
    var generator = SeededGenerator(seed: UInt64(sure * 10 + shared))
    withReservation { reservation in
      var texts = SharedTexts(
        ownerCount: owners, sureRows: sure, optionalRows: rows - sure, sharedCells: shared, name: "texts",
        in: &reservation)
      var lent = (0..<owners).map { _ in texts.lend()! }
      check(texts.lend() == nil)
      var model = [[[UInt8]]](repeating: [[UInt8]](repeating: [], count: rows), count: owners)
      func cells<Texts: Sequence<[UInt8]>>(_ texts: Texts) -> Int { texts.reduce(0) { $0 + ($1.count + 63) / 64 } }
      func held(_ owner: Int) -> Int { cells(model[owner].prefix(sure)) }
      func all() -> Int { (0..<owners).reduce(0) { $0 + cells(model[$1]) } }
      for _ in 0..<2000 {
        let owner = generator.below(owners)
        let row = generator.below(rows)
        let text = generator.bytes(generator.below(200))
        model[owner][row] = []
        let free = owners * sure + shared - all()
        var kept = (0..<owners).reduce(0) { $0 + ($1 == owner && row < sure ? 0 : max(0, sureCells - held($1))) }
        if row >= sure { kept += shared / 2 - owners * (sureCells - sure) }
        let isDone = withBytes(text) { texts.set(row, of: lent[owner], to: $0) }
        check(isDone == (text.isEmpty || (text.count + 63) / 64 <= free - kept))
        if isDone { model[owner][row] = text }
        if generator.below(50) == 0 {
          texts.giveBack(lent[owner])
          lent[owner] = texts.lend()!
          model[owner] = [[UInt8]](repeating: [], count: rows)
        }
        for owner in 0..<owners {
          check(Int(texts.owners[lent[owner]].cellCount) == held(owner))
          for row in 0..<rows {
            check(texts.byteCount(row, of: lent[owner]) == model[owner][row].count)
            check(withBytes(model[owner][row]) { texts.isEqual(row, of: lent[owner], to: $0) })
            check(withBytes(model[owner][row] + [1]) { !texts.isEqual(row, of: lent[owner], to: $0) })
          }
        }
        check(texts.cellsGauge.used == all())
        check(texts.keptBack <= texts.cellsGauge.free)
      }
    }
  }

  @Test func ownerThatIsGivenBackTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var texts = SharedTexts(
          ownerCount: 2, sureRows: 1, optionalRows: 1, sharedCells: 1, name: "texts", in: &reservation)
        let owner = texts.lend()!
        texts.giveBack(owner)
        _ = texts.set(0, of: owner, to: Bytes("a"))
      }
    }
  }

  @Test func rowOutsideTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var texts = SharedTexts(
          ownerCount: 2, sureRows: 1, optionalRows: 1, sharedCells: 1, name: "texts", in: &reservation)
        _ = texts.set(2, of: texts.lend()!, to: Bytes("a"))
      }
    }
  }
}
