import Cache
import Formats
import Journal
import NodeCore
import RedisServer
import Replication

/// `KINTSUGI …`: what the command line asks of a node. Replies are JSON in a bulk string; docs and forms are the command
/// line's.
extension Runtime {
    func administer(_ arguments: [[UInt8]], into reply: inout ReplyBuffer) {
        let words = arguments.map { String(decoding: $0, as: UTF8.self) }
        switch words.first?.uppercased() {
        case "STATUS" where words.count == 1:
            reply.bulk(self.statusJSON())
        case "INCIDENTS" where words.count == 1:
            reply.bulk(self.core.incidentsJSON())
        case "SCRUB" where words.count == 1 || (words.count == 2 && words[1].uppercased() == "NOW"):
            reply.bulk(self.scrubJSON(begins: words.count == 2))
        case "TRANSFER" where words.count == 2 || words.count == 3:
            self.transfer(words, into: &reply)
        default:
            reply.error("ERR usage: KINTSUGI STATUS | INCIDENTS | SCRUB [NOW] | TRANSFER group [node]")
        }
    }

    private func statusJSON() -> [UInt8] {
        let groups = self.core.groupStatus.map { group in
            let role = group.role == .preCandidate ? "candidate" : "\(group.role)"
            return """
                {"group":"\(group.id)","role":"\(role)","term":\(group.term),"commit":\(group.commit),\
                "applied":\(group.applied)}
                """
        }
        let peers = self.core.peerStatus.map { peer in
            let address = self.redisAddress(of: peer.node).map { "\($0.host):\($0.port)" } ?? ""
            return "{\"id\":\(peer.node),\"redis\":\"\(address)\",\"up\":\(peer.isUp)}"
        }
        let state =
            self.core.disk.fault != nil
            ? "sick"
            : self.core.groupStatus.contains { $0.isRecovering } ? "recovering" : self.core.isReady ? "up" : "starting"
        let disk = self.core.disk.fault?.text ?? "well"
        return Array(
            """
            {"id":\(self.configuration.node),"state":"\(state)","disk":"\(disk)","run":\(self.identity.run),\
            "groups":[\(groups.joined(separator: ","))],"peers":[\(peers.joined(separator: ","))]}
            """.utf8)
    }

    private func transfer(_ words: [String], into reply: inout ReplyBuffer) {
        guard let group = self.core.groupStatus.first(where: { "\($0.id)" == words[1] }) else {
            return reply.error("ERR no group is called '\(words[1])'")
        }
        var to: NodeID?
        if words.count == 3 {
            guard let number = UInt32(words[2]), self.seed.peers.contains(where: { $0.node.rawValue == number }) else {
                return reply.error("ERR no node has the number '\(words[2])'")
            }
            to = NodeID(number)
        }
        guard let from = self.core.transfer(group.id, to: to) else {
            return reply.error("NOQUORUM nobody is known to lead the group '\(words[1])'")
        }
        reply.bulk(Array("{\"group\":\"\(words[1])\",\"from\":\(from),\"to\":\(to.map { "\($0)" } ?? "null")}".utf8))
    }
}
