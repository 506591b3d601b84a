import Bounded
import CDigest
import Testing

/// Bytes such as 01 08 0F 16: `count` of them.
private func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: 7 * $0 + 1) } }

private func hex(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef")
  return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
}

private func pbkdf2(_ password: [UInt8], _ salt: [UInt8], _ iterations: UInt32) -> String {
  var output = [UInt8](repeating: 0xAA, count: 64)
  cdigest_pbkdf2_sha512(password, password.count, salt, salt.count, iterations, &output)
  return hex(output)
}

private func salted(_ password: [UInt8], _ salt: [UInt8]) -> String {
  var output = [UInt8](repeating: 0xAA, count: 64)
  cdigest_sha512_salted(password, password.count, salt, salt.count, &output)
  return hex(output)
}

@Suite("Digests over libmd") struct DigestTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let keyBytes: Int
    let saltBytes: Int
    let iterations: UInt32
    let digest: String

    init(_ keyBytes: Int, _ saltBytes: Int, _ iterations: UInt32, _ digest: String) {
      self.keyBytes = keyBytes
      self.saltBytes = saltBytes
      self.iterations = iterations
      self.digest = digest
    }

    var testDescription: String { "key of \(keyBytes), salt of \(saltBytes), \(iterations) iterations" }
  }

  /// By Python's hashlib.pbkdf2_hmac. A key of more than 128 bytes is hashed first.
  static let cases = [
    Case(
      0, 4, 1,
      "890abae1ff8b01587342fac79b693f4f7c0afbfd966de10031a95d944b1f833b786ec8d756279a394d6e9182192920223104dd3825d4ebd281f0cd5a478b5338"
    ),
    Case(
      0, 4, 2,
      "a21f70ab62fa8a07445fc63a76ab76e3ebe13714427ca58d9ff641b0882dddd1586d09fe0db034da62212a13474cb6423ca4ff20ccb2a28506eefbcf9af7b353"
    ),
    Case(
      0, 4, 1000,
      "88da163405372ee13eafc9215c82622ee1f3597ba80122a0e569c5da95b1fcee43cdd19fec9ecbc3ff23e146b4fb9b46c4db102aa1cb5e8729c67dc38d1d5b4d"
    ),
    Case(
      1, 4, 1,
      "b6ed240a74098be313927658dee07a57cf2e4ce43bd1e350d94428d9a6f5622963002deb52a62060b9ec94599ededf77585a80504a48e0235ed00943cf9fe92b"
    ),
    Case(
      1, 4, 2,
      "32758021dc5dda327cd90c836640512219d736e3701f815e9e2ef2aab1754e2d05b279f6db5821d83fe79aee01e73ff46e53b2fc0bfda46ee2f54c1e308a12db"
    ),
    Case(
      1, 4, 1000,
      "f0303a53f116d27b11c94eee05ad4186b0a62322cb8c75e19679a5fc5b873181f47f8ca91ced713b187714ec3deb62119aaadd957bbb19485a6a4b30b43d1ca3"
    ),
    Case(
      127, 4, 1,
      "c3c044323d003a195c3e445e7aef5dcc26d33da73e0ab3299970132206cc4c9988882b0a947c896be04178c9a537d0accd5bfd949bbe3fad60e881735340a845"
    ),
    Case(
      127, 4, 2,
      "33d7e50ed508164370d947a3007bb7dff693bd600c90c0caa3d420d3f7b0f64cfaef5be1bd3773a10f988057887c24886006384d0d1aee814f3f43cd6e57bc22"
    ),
    Case(
      127, 4, 1000,
      "d2be3bf91708eb615cb5dfc8ae3d2da45ce2a50615d9670ea8b0919adc065577204ae38507e812708418d5ea1530e5553e7524ed0bd460fafa39bc7bdf74c81e"
    ),
    Case(
      128, 4, 1,
      "1a3ba1ebcc6bac5e0ce9bac8fe41d70bd74e09da6936b54143bc73e91306ca33783abe29b3ed48b26b678bf9562547fdc4a92d9f314050bc4ad000c8bb986381"
    ),
    Case(
      128, 4, 2,
      "146c72dd59e338ec1db0e8f9028a905134ac1fa27d8e62c9f2318ef362387317199779b055192cbf0a930ed52cb7c8d9524fdbb6e05a3d71170a212d4338b8d7"
    ),
    Case(
      128, 4, 1000,
      "acc134118152a17d7fb3174e028fbfb3d09e86aaed92dbacb1e553661e4df03a741c32a0f71c73dde0b5005059639e9960cc417b1d21fb2184bb242a8f6f6b7f"
    ),
    Case(
      129, 4, 1,
      "f0e8ed9a6844c2a11afa30af81388260b92853074a80f1a2ebe49217bae009f8c63eda0c546c7d5d0c94dc1c18fd5c4b9953b4cfdd7bf140714580c68529de3b"
    ),
    Case(
      129, 4, 2,
      "bcf0ef4bcbbdf51d77f1bc6517027cf58ca3d57c67b4f819f718d4cd2456cb83570982a233d7222192d5f202c6659a928214937be1c1c67d9008e421efa917c9"
    ),
    Case(
      129, 4, 1000,
      "891b197f4277876b7c954bddff93f2daf9d1179d8f5d0415744c4b849c7440d35790d6d8bff49f2be6e7620b27849db0d164e7661b1e64a85c02d7a365b6dfd3"
    ),
    Case(
      8, 0, 3,
      "039efc1e1d7a3ff5bc3459ed2991f16402b59494007635184cc98d66bf4d6c9420eb63a16b5c03792d3b618d15b38cf44fd0311fd53b13ebfbb2500f1f433d9a"
    ),
    Case(
      8, 1, 3,
      "1ee63cf8e24b45fa295f00b1f8a9f4d225510c1e60a460dfdd8abc9f5555287f671840b65a27b8a6616c1ea140592e1fa88bc2ff355421a94f3728a1425bcf6b"
    ),
    Case(
      8, 64, 3,
      "7d632a03c14147a3c34294c329be1177d21a3f79da3afaff10afa15e17871a764c97c57e70740182993f460d873a927cda77d1d30855dbbefd0db4631d8964ed"
    ),
    Case(
      300, 111, 1,
      "6ab4b23f4095ecfa0ec564e112ff3afb335d2bb848f163bca53b8e2bc038cdf3e87a9cbde40f898eca30ce3287aefd29c32e98367e54aec7756c1a3f886fb0a6"
    ),
    Case(
      64, 128, 2,
      "468dd3d268daaa1390fe132d376d49100e6889464f4a9deb593235236b2160e4a31f38e131246e3c538406c69049a2f1fbcaaf09022551cc992a99106d06cd6f"
    ),
  ]

  @Test(arguments: cases) func pbkdf2OfEveryKeyLength(_ row: Case) {
    #expect(pbkdf2(pattern(row.keyBytes), pattern(row.saltBytes), row.iterations) == row.digest)
  }

  @Test func pbkdf2OfWords() {
    let password = [UInt8]("password".utf8)
    let salt = [UInt8]("salt".utf8)
    #expect(
      pbkdf2(password, salt, 1)
        == "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce"
    )
    #expect(
      pbkdf2(password, salt, 4096)
        == "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5"
    )
  }

  /// A key and the same with a zero behind it are one key of HMAC, up to the length of a block.
  @Test func aKeyIsFilledUpWithZeros() {
    #expect(pbkdf2(pattern(127), [1], 2) == pbkdf2(pattern(127) + [0], [1], 2))
    #expect(pbkdf2(pattern(128), [1], 2) != pbkdf2(pattern(128) + [0], [1], 2))
  }

  @Test func saltedIsThePasswordAndThenTheSalt() {
    let password = [UInt8]("secret".utf8)
    let salt = [UInt8]("salt".utf8)
    let digest = salted(password, salt)
    #expect(
      digest
        == "138f75cab47d01d0a813badb38f612dc46604ae669544eb9003f71928d3cb3a7e5a0d7ac63f6697bdccc56f2e2c784b616241227df5122436f847a2634ef6e2f"
    )
    #expect(salted(password + salt, []) == digest && salted([], password + salt) == digest)
    #expect(salted(salt, password) != digest)
  }

  @Test func equalLooksAtEachBit() {
    let bytes = pattern(64)
    #expect(cdigest_equal(bytes, pattern(64), 64) == 1)
    #expect(cdigest_equal(bytes, [0], 0) == 1)
    for place in 0..<64 {
      for bit in 0..<8 {
        var other = bytes
        other[place] ^= 1 << UInt8(bit)
        #expect(cdigest_equal(bytes, other, 64) == 0)
        #expect(cdigest_equal(bytes, other, place) == 1)
      }
    }
  }
}
