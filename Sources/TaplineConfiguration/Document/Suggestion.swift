/// The word that was probably meant: the nearest by edits (a letter added, left out, changed, or two swapped), if
/// it is near enough to be more than a guess.
enum Suggestion {
  static func nearest(to word: [UInt8], of known: [StaticString]) -> StaticString? {
    var best: StaticString?
    var bestDistance = Int.max
    for candidate in known {
      let distance = Suggestion.distance(word, candidate)
      if distance < bestDistance {
        best = candidate
        bestDistance = distance
      }
    }
    // One edit for a short word, a third of a long one.
    return bestDistance <= max(1, min(word.count, 64) / 3) ? best : nil
  }

  /// The optimal string alignment distance, letters of either case and `-` and `_` being the same; words of over
  /// 64 bytes are far from everything.
  static func distance(_ word: [UInt8], _ other: StaticString) -> Int {
    let width = other.utf8CodeUnitCount
    guard word.count <= 64, width <= 64 else { return .max }
    // Three rows of one table, which change places: the row being filled, the last and the one before. Three arrays that
    // change places are miscompiled by Swift 6.3.1 at -O when they start as copies of one.
    let stride = width + 1
    var table = [Int](repeating: 0, count: 3 * stride)
    var (row, last, beforeLast) = (0, stride, 2 * stride)
    for column in 0...width { table[last + column] = column }
    var index = 0
    while index < word.count {
      table[row] = index + 1
      var column = 0
      while column < width {
        let same = folded(word[index]) == folded(other.utf8Start[column])
        var least = table[last + column] + (same ? 0 : 1)
        least = min(least, table[last + column + 1] + 1, table[row + column] + 1)
        if index > 0, column > 0, folded(word[index]) == folded(other.utf8Start[column - 1]),
          folded(word[index - 1]) == folded(other.utf8Start[column])
        {
          least = min(least, table[beforeLast + column - 1] + 1)
        }
        table[row + column + 1] = least
        column += 1
      }
      (row, last, beforeLast) = (beforeLast, row, last)
      index += 1
    }
    return table[last + width]
  }

  private static func folded(_ byte: UInt8) -> UInt8 {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
    case UInt8(ascii: "-"): UInt8(ascii: "_")
    default: byte
    }
  }
}

extension Text {
  /// `; did you mean 'x'?` if something known is near `word`.
  public mutating func addSuggestion(for word: [UInt8], of known: [StaticString]) {
    guard let nearest = Suggestion.nearest(to: word, of: known) else { return }
    add("; did you mean ")
    add(quoted: nearest)
    add("?")
  }
}
