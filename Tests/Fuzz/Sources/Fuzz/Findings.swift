/// Inputs that once found a mistake: target and input. All of them are replayed in every run.
let findings: [(target: String, input: [UInt8])] = [
  // Topics of $SYS were longer than any topic was allowed to be.
  ("configuration", [UInt8]("limits: {topic_bytes: 16}\n".utf8)),
  // An assigned client identifier was longer than any was allowed to be.
  ("configuration", [UInt8]("limits: {client_id_bytes: 23}\n".utf8)),
  // A full pool of retained messages was told of, and nobody had read it at the end.
  ("broker", [0xFA]),
]
