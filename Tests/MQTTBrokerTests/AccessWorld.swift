import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// One line of an ACL, as a test sees it.
struct TestRule {
  enum Subject: Equatable {
    case anonymous
    case user(String)
    case everybody
  }
  var subject: Subject
  var access: Access
  var filter: String
}

/// An ACL in mosquitto's words: `user NAME`, `topic [read|write|readwrite|deny] FILTER`, `pattern ...`.
struct TestRules {
  var rules: [TestRule] = []

  init(_ rules: [TestRule]) { self.rules = rules }

  init(_ text: String) {
    var subject = TestRule.Subject.anonymous
    for line in text.split(separator: "\n") {
      var words = line.split(separator: " ").map(String.init)
      let first = words.removeFirst()
      if first == "user" {
        subject = .user(words[0])
        continue
      }
      let access: [String: Access] = ["read": .read, "write": .write, "readwrite": .readWrite, "deny": .deny]
      let named = words.count > 1 ? access[words[0]] : nil
      rules.append(
        TestRule(
          subject: first == "pattern" ? .everybody : subject, access: named ?? .readWrite,
          filter: words[named == nil ? 0 : 1]))
    }
  }

  func fill(_ compiled: inout AccessRules, roles: [String: Role]) throws(RuleProblem) {
    compiled.clear()
    compiled.isInForce = true
    for rule in rules {
      let subject: RuleSubject
      switch rule.subject {
      case .anonymous: subject = .anonymous
      case .everybody: subject = .everybody
      case .user(let name): subject = .role(roles[name]!)
      }
      var problem: RuleProblem?
      withBytes([UInt8](rule.filter.utf8)) { filter in
        do throws(RuleProblem) {
          try compiled.add(subject, rule.access, filter: filter)
        } catch {
          problem = error
        }
      }
      if let problem { throw problem }
    }
  }
}

/// A place for rules that are not in force.
final class RulesRoom {
  var rules: AccessRules
  private let region: UnsafeMutableRawBufferPointer

  init(_ sizes: AccessSizes) {
    var plan = Reservation.counting()
    _ = AccessRules(sizes: sizes, in: &plan)
    region = .zeroed(max(64, plan.byteCount))
    var reservation = Reservation(region: region)
    rules = AccessRules(sizes: sizes, in: &reservation)
  }

  deinit { region.deallocate() }
}

extension AccessSizes {
  static var forTests: AccessSizes { AccessSizes(rules: 64, levels: 192, nameBytes: 1024, userNameBytes: 16) }
}

/// A `World` with users and an ACL. A user's password is right.
final class AccessWorld {
  let world: World
  private let room: RulesRoom
  /// The users that there are, and their roles; `none` is in no section of the ACL.
  var users: [String: Role] = ["ann": 1, "bob": 64, "eve": 255, "none": 0]

  /// - Parameter rules: nil: there is no ACL.
  init(_ rules: String?, limits: Limits = .forTests, access: AccessSizes = .forTests) {
    world = World(limits: limits, access: access)
    room = RulesRoom(access)
    world.broker.onCredentials = { [unowned self] credentials in
      guard let name = credentials.userName else { return .accept(.anonymous) }
      guard let role = users[plainText(name)] else { return .refuse(.badUserNameOrPassword) }
      return .accept(Identity(userName: name, role: role))
    }
    reload(rules)
  }

  /// From here on these rules are in force, and the users are `users`.
  func reload(_ text: String?) { reload(rules: text.map { TestRules($0) }) }

  func reload(rules: TestRules?) {
    if let rules {
      try! rules.fill(&room.rules, roles: users)
    } else {
      room.rules.clear()
      room.rules.isInForce = false
    }
    let users = users
    world.broker.replaceRules(&room.rules) { $0.isEmpty ? 0 : users[plainText($0)] }
  }

  /// Ends the sessions of users who are gone, some at a time. Answers how many calls it took.
  @discardableResult func judgeSessions(count: Int = 3) -> Int {
    var calls = 0
    var next: Int? = 0
    let users = users
    while let index = next {
      calls += 1
      world.broker.beginTurn()
      next = world.broker.judgeSessions(from: index, count: count, at: world.now) {
        $0.isEmpty ? 0 : users[plainText($0)]
      }
    }
    world.settle()
    return calls
  }

  var denied: [UInt64] {
    let counters = world.broker.counters
    return [counters.publishesDenied, counters.deliveriesDenied, counters.subscriptionsDenied]
  }

  /// SUBSCRIBE, and what became of each filter.
  func subscribe(_ name: String, _ filters: Filter...) -> [ReasonCode] {
    let client = world.client(name)
    client.lastPacketID += 1
    world.send(name, .subscribe(client.lastPacketID, filters))
    guard case .subAck(client.lastPacketID, let codes)? = world.takeFirst(name) else {
      Issue.record("\(name) got no SUBACK")
      return []
    }
    return codes
  }

  /// What `name` was sent since this was asked, by topic and payload; each QoS 1 and 2 message is acknowledged.
  func received(_ name: String) -> [String] {
    var texts: [String] = []
    while case .publish(let topic, let payload, let qos, let packetID, _, _, _)? = world.takeFirst(name) {
      texts.append("\(topic)=\(payload)")
      if qos == 1 { world.send(name, .pubAck(packetID)) }
      if qos == 2 {
        world.send(name, .pubRec(packetID))
        if let place = world.client(name).packets.firstIndex(of: .pubRel(packetID)) {
          world.client(name).packets.remove(at: place)
        }
        world.send(name, .pubComp(packetID))
      }
    }
    return texts
  }
}

/// A version and a QoS: the table of rights is made for each of them.
struct Path: CustomTestStringConvertible {
  let version: ProtocolVersion
  let qos: UInt8

  static let all = [ProtocolVersion.v311, .v5].flatMap { version in
    (0...2).map { Path(version: version, qos: UInt8($0)) }
  }

  var testDescription: String { "\(version) QoS \(qos)" }

  /// The answer to a PUBLISH with packet id 1; nil: none.
  func answer(isDenied: Bool) -> Packet? {
    let reason: ReasonCode = isDenied && version == .v5 ? .notAuthorized : .success
    return qos == 0 ? nil : qos == 1 ? .pubAck(1, reason) : .pubRec(1, reason)
  }
}
