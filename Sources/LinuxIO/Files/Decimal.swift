import Bounded

// Numbers in the texts of the kernel and of the environment: decimal digits, no sign.

extension Bytes {
  /// The number whose digits begin at `start`, and the index after them; nil when there is no digit. What does not fit
  /// counts as the largest.
  func decimal(from start: Int = 0) -> (value: Int64, end: Int)? {
    var index = start
    var value: Int64 = 0
    while index < count, self[index] >= 48, self[index] <= 57 {
      let (tens, isLarge) = value.multipliedReportingOverflow(by: 10)
      let (sum, isLarger) = tens.addingReportingOverflow(Int64(self[index] - 48))
      value = isLarge || isLarger ? .max : sum
      index += 1
    }
    return index == start ? nil : (value, index)
  }

  /// The number that these bytes begin with, whatever follows: a file's first line, for one.
  var leadingDecimal: Int64? { decimal()?.value }

  /// The number that these bytes are, with nothing else beside it.
  var wholeDecimal: Int64? {
    guard let (value, end) = decimal(), end == count else { return nil }
    return value
  }

  /// The number that these bytes end with, as in `hwmon12`.
  var trailingDecimal: Int64? {
    var start = count
    while start > 0, self[start - 1] >= 48, self[start - 1] <= 57 { start -= 1 }
    return from(start).leadingDecimal
  }
}
