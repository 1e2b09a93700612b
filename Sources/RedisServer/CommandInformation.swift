/// What COMMAND INFO says of each command, in the notation of `ReplyNotation`: taken from a running redis-server
/// 7.0.15, subcommands cut down to those that are supported. The differential test compares it with that server's
/// bytes.
enum CommandInformation {
    /// By name, in the order of `CommandTable.specs`.
    static let entries: [(name: StaticString, text: StaticString)] = [
        (
            "get",
            #"""
            ["get" 2 {readonly fast} 1 1 1 {@read @string @fast} {} {("flags" {RO access} "begin_search" ("type"
              "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))}
              {}]
            """#
        ),
        (
            "set",
            #"""
            ["set" -3 {write denyoom} 1 1 1 {@write @string @slow} {} {("notes"
              "RW and ACCESS due to the optional `GET` argument" "flags" {RW access update variable_flags}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "setnx",
            #"""
            ["setnx" 3 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {OW insert} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "setex",
            #"""
            ["setex" 4 {write denyoom} 1 1 1 {@write @string @slow} {} {("flags" {OW update} "begin_search" ("type"
              "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))}
              {}]
            """#
        ),
        (
            "psetex",
            #"""
            ["psetex" 4 {write denyoom} 1 1 1 {@write @string @slow} {} {("flags" {OW update} "begin_search" ("type"
              "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))}
              {}]
            """#
        ),
        (
            "getset",
            #"""
            ["getset" 3 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {RW access update}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "getdel",
            #"""
            ["getdel" 2 {write fast} 1 1 1 {@write @string @fast} {} {("flags" {RW access delete} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "getex",
            #"""
            ["getex" -2 {write fast} 1 1 1 {@write @string @fast} {} {("notes"
              "RW and UPDATE because it changes the TTL" "flags" {RW access update} "begin_search" ("type" "index"
              "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "mget",
            #"""
            ["mget" -2 {readonly fast} 1 -1 1 {@read @string @fast} {"request_policy:multi_shard"} {("flags" {RO
              access} "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec"
              ("lastkey" -1 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "mset",
            #"""
            ["mset" -3 {write denyoom} 1 -1 2 {@write @string @slow} {"request_policy:multi_shard"
              "response_policy:all_succeeded"} {("flags" {OW update} "begin_search" ("type" "index" "spec" ("index"
              1)) "find_keys" ("type" "range" "spec" ("lastkey" -1 "keystep" 2 "limit" 0)))} {}]
            """#
        ),
        (
            "msetnx",
            #"""
            ["msetnx" -3 {write denyoom} 1 -1 2 {@write @string @slow} {"request_policy:multi_shard"
              "response_policy:agg_min"} {("flags" {OW insert} "begin_search" ("type" "index" "spec" ("index" 1))
              "find_keys" ("type" "range" "spec" ("lastkey" -1 "keystep" 2 "limit" 0)))} {}]
            """#
        ),
        (
            "incr",
            #"""
            ["incr" 2 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {RW access update}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "decr",
            #"""
            ["decr" 2 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {RW access update}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "incrby",
            #"""
            ["incrby" 3 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {RW access update}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "decrby",
            #"""
            ["decrby" 3 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {RW access update}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "incrbyfloat",
            #"""
            ["incrbyfloat" 3 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {RW access update}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "append",
            #"""
            ["append" 3 {write denyoom fast} 1 1 1 {@write @string @fast} {} {("flags" {RW insert} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "strlen",
            #"""
            ["strlen" 2 {readonly fast} 1 1 1 {@read @string @fast} {} {("flags" {RO} "begin_search" ("type" "index"
              "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "getrange",
            #"""
            ["getrange" 4 {readonly} 1 1 1 {@read @string @slow} {} {("flags" {RO access} "begin_search" ("type"
              "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))}
              {}]
            """#
        ),
        (
            "substr",
            #"""
            ["substr" 4 {readonly} 1 1 1 {@read @string @slow} {} {("flags" {RO access} "begin_search" ("type"
              "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))}
              {}]
            """#
        ),
        (
            "setrange",
            #"""
            ["setrange" 4 {write denyoom} 1 1 1 {@write @string @slow} {} {("flags" {RW update} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "lcs",
            #"""
            ["lcs" -3 {readonly} 1 2 1 {@read @string @slow} {} {("flags" {RO access} "begin_search" ("type" "index"
              "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 1 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "del",
            #"""
            ["del" -2 {write} 1 -1 1 {@keyspace @write @slow} {"request_policy:multi_shard"
              "response_policy:agg_sum"} {("flags" {RM delete} "begin_search" ("type" "index" "spec" ("index" 1))
              "find_keys" ("type" "range" "spec" ("lastkey" -1 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "unlink",
            #"""
            ["unlink" -2 {write fast} 1 -1 1 {@keyspace @write @fast} {"request_policy:multi_shard"
              "response_policy:agg_sum"} {("flags" {RM delete} "begin_search" ("type" "index" "spec" ("index" 1))
              "find_keys" ("type" "range" "spec" ("lastkey" -1 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "exists",
            #"""
            ["exists" -2 {readonly fast} 1 -1 1 {@keyspace @read @fast} {"request_policy:multi_shard"
              "response_policy:agg_sum"} {("flags" {RO} "begin_search" ("type" "index" "spec" ("index" 1))
              "find_keys" ("type" "range" "spec" ("lastkey" -1 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "expire",
            #"""
            ["expire" -3 {write fast} 1 1 1 {@keyspace @write @fast} {} {("flags" {RW update} "begin_search" ("type"
              "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))}
              {}]
            """#
        ),
        (
            "pexpire",
            #"""
            ["pexpire" -3 {write fast} 1 1 1 {@keyspace @write @fast} {} {("flags" {RW update} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "expireat",
            #"""
            ["expireat" -3 {write fast} 1 1 1 {@keyspace @write @fast} {} {("flags" {RW update} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "pexpireat",
            #"""
            ["pexpireat" -3 {write fast} 1 1 1 {@keyspace @write @fast} {} {("flags" {RW update} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "ttl",
            #"""
            ["ttl" 2 {readonly fast} 1 1 1 {@keyspace @read @fast} {"nondeterministic_output"} {("flags" {RO access}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "pttl",
            #"""
            ["pttl" 2 {readonly fast} 1 1 1 {@keyspace @read @fast} {"nondeterministic_output"} {("flags" {RO
              access} "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec"
              ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "expiretime",
            #"""
            ["expiretime" 2 {readonly fast} 1 1 1 {@keyspace @read @fast} {} {("flags" {RO access} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "pexpiretime",
            #"""
            ["pexpiretime" 2 {readonly fast} 1 1 1 {@keyspace @read @fast} {} {("flags" {RO access} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}]
            """#
        ),
        (
            "persist",
            #"""
            ["persist" 2 {write fast} 1 1 1 {@keyspace @write @fast} {} {("flags" {RW update} "begin_search" ("type"
              "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))}
              {}]
            """#
        ),
        (
            "type",
            #"""
            ["type" 2 {readonly fast} 1 1 1 {@keyspace @read @fast} {} {("flags" {RO} "begin_search" ("type" "index"
              "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "keys",
            #"""
            ["keys" 2 {readonly} 0 0 0 {@keyspace @read @slow @dangerous} {"request_policy:all_shards"
              "nondeterministic_output_order"} {} {}]
            """#
        ),
        (
            "scan",
            #"""
            ["scan" -2 {readonly} 0 0 0 {@keyspace @read @slow} {"nondeterministic_output" "request_policy:special"}
              {} {}]
            """#
        ),
        (
            "rename",
            #"""
            ["rename" 3 {write} 1 2 1 {@keyspace @write @slow} {} {("flags" {RW access delete} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0))) ("flags" {OW update} "begin_search" ("type" "index" "spec" ("index" 2)) "find_keys"
              ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "renamenx",
            #"""
            ["renamenx" 3 {write fast} 1 2 1 {@keyspace @write @fast} {} {("flags" {RW access delete} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0))) ("flags" {OW insert} "begin_search" ("type" "index" "spec" ("index" 2)) "find_keys"
              ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "copy",
            #"""
            ["copy" -3 {write denyoom} 1 2 1 {@keyspace @write @slow} {} {("flags" {RO access} "begin_search"
              ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0))) ("flags" {OW update} "begin_search" ("type" "index" "spec" ("index" 2)) "find_keys"
              ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "touch",
            #"""
            ["touch" -2 {readonly fast} 1 -1 1 {@keyspace @read @fast} {"request_policy:multi_shard"
              "response_policy:agg_sum"} {("flags" {RO} "begin_search" ("type" "index" "spec" ("index" 1))
              "find_keys" ("type" "range" "spec" ("lastkey" -1 "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "randomkey",
            #"""
            ["randomkey" 1 {readonly} 0 0 0 {@keyspace @read @slow} {"request_policy:all_shards"
              "nondeterministic_output"} {} {}]
            """#
        ),
        (
            "object",
            #"""
            ["object" -2 {} 0 0 0 {@slow} {} {} [["object|help" 2 {loading stale} 0 0 0 {@keyspace @slow} {} {} {}]
              ["object|idletime" 3 {readonly} 2 2 1 {@keyspace @read @slow} {"nondeterministic_output"} {("flags"
              {RO} "begin_search" ("type" "index" "spec" ("index" 2)) "find_keys" ("type" "range" "spec" ("lastkey"
              0 "keystep" 1 "limit" 0)))} {}] ["object|freq" 3 {readonly} 2 2 1 {@keyspace @read @slow}
              {"nondeterministic_output"} {("flags" {RO} "begin_search" ("type" "index" "spec" ("index" 2))
              "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}] ["object|encoding" 3
              {readonly} 2 2 1 {@keyspace @read @slow} {"nondeterministic_output"} {("flags" {RO} "begin_search"
              ("type" "index" "spec" ("index" 2)) "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1
              "limit" 0)))} {}] ["object|refcount" 3 {readonly} 2 2 1 {@keyspace @read @slow}
              {"nondeterministic_output"} {("flags" {RO} "begin_search" ("type" "index" "spec" ("index" 2))
              "find_keys" ("type" "range" "spec" ("lastkey" 0 "keystep" 1 "limit" 0)))} {}]]]
            """#
        ),
        (
            "dbsize",
            #"""
            ["dbsize" 1 {readonly fast} 0 0 0 {@keyspace @read @fast} {"request_policy:all_shards"
              "response_policy:agg_sum"} {} {}]
            """#
        ),
        (
            "flushdb",
            #"""
            ["flushdb" -1 {write} 0 0 0 {@keyspace @write @slow @dangerous} {"request_policy:all_shards"
              "response_policy:all_succeeded"} {} {}]
            """#
        ),
        (
            "flushall",
            #"""
            ["flushall" -1 {write} 0 0 0 {@keyspace @write @slow @dangerous} {"request_policy:all_shards"
              "response_policy:all_succeeded"} {} {}]
            """#
        ),
        (
            "exec",
            #"""
            ["exec" 1 {noscript loading stale skip_slowlog} 0 0 0 {@slow @transaction} {} {} {}]
            """#
        ),
        (
            "multi",
            #"""
            ["multi" 1 {noscript loading stale fast allow_busy} 0 0 0 {@fast @transaction} {} {} {}]
            """#
        ),
        (
            "watch",
            #"""
            ["watch" -2 {noscript loading stale fast allow_busy} 1 -1 1 {@fast @transaction} {} {("flags" {RO}
              "begin_search" ("type" "index" "spec" ("index" 1)) "find_keys" ("type" "range" "spec" ("lastkey" -1
              "keystep" 1 "limit" 0)))} {}]
            """#
        ),
        (
            "discard",
            #"""
            ["discard" 1 {noscript loading stale fast allow_busy} 0 0 0 {@fast @transaction} {} {} {}]
            """#
        ),
        (
            "unwatch",
            #"""
            ["unwatch" 1 {noscript loading stale fast allow_busy} 0 0 0 {@fast @transaction} {} {} {}]
            """#
        ),
        (
            "ping",
            #"""
            ["ping" -1 {fast} 0 0 0 {@fast @connection} {"request_policy:all_shards"
              "response_policy:all_succeeded"} {} {}]
            """#
        ),
        (
            "echo",
            #"""
            ["echo" 2 {loading stale fast} 0 0 0 {@fast @connection} {} {} {}]
            """#
        ),
        (
            "hello",
            #"""
            ["hello" -1 {noscript loading stale fast no_auth allow_busy} 0 0 0 {@fast @connection} {} {} {}]
            """#
        ),
        (
            "auth",
            #"""
            ["auth" -2 {noscript loading stale fast no_auth allow_busy} 0 0 0 {@fast @connection} {} {} {}]
            """#
        ),
        (
            "select",
            #"""
            ["select" 2 {loading stale fast} 0 0 0 {@fast @connection} {} {} {}]
            """#
        ),
        (
            "reset",
            #"""
            ["reset" 1 {noscript loading stale fast no_auth allow_busy} 0 0 0 {@fast @connection} {} {} {}]
            """#
        ),
        (
            "quit",
            #"""
            ["quit" -1 {noscript loading stale fast no_auth allow_busy} 0 0 0 {@fast @connection} {} {} {}]
            """#
        ),
        (
            "info",
            #"""
            ["info" -1 {loading stale} 0 0 0 {@slow @dangerous} {"nondeterministic_output"
              "request_policy:all_shards" "response_policy:special"} {} {}]
            """#
        ),
        (
            "role",
            #"""
            ["role" 1 {noscript loading stale fast} 0 0 0 {@admin @fast @dangerous} {} {} {}]
            """#
        ),
        (
            "wait",
            #"""
            ["wait" 3 {noscript} 0 0 0 {@slow @connection} {"request_policy:all_shards" "response_policy:agg_min"}
              {} {}]
            """#
        ),
        (
            "client",
            #"""
            ["client" -2 {} 0 0 0 {@slow} {} {} [["client|kill" -3 {admin noscript loading stale} 0 0 0 {@admin
              @slow @dangerous @connection} {} {} {}] ["client|list" -2 {admin noscript loading stale} 0 0 0 {@admin
              @slow @dangerous @connection} {"nondeterministic_output"} {} {}] ["client|reply" 3 {noscript loading
              stale} 0 0 0 {@slow @connection} {} {} {}] ["client|no-evict" 3 {admin noscript loading stale} 0 0 0
              {@admin @slow @dangerous @connection} {} {} {}] ["client|id" 2 {noscript loading stale} 0 0 0 {@slow
              @connection} {} {} {}] ["client|help" 2 {loading stale} 0 0 0 {@slow @connection} {} {} {}]
              ["client|getname" 2 {noscript loading stale} 0 0 0 {@slow @connection} {} {} {}] ["client|setname" 3
              {noscript loading stale} 0 0 0 {@slow @connection} {} {} {}] ["client|info" 2 {noscript loading stale}
              0 0 0 {@slow @connection} {"nondeterministic_output"} {} {}]]]
            """#
        ),
        (
            "command",
            #"""
            ["command" -1 {loading stale} 0 0 0 {@slow @connection} {"nondeterministic_output_order"} {}
              [["command|list" -2 {loading stale} 0 0 0 {@slow @connection} {"nondeterministic_output_order"} {} {}]
              ["command|help" 2 {loading stale} 0 0 0 {@slow @connection} {} {} {}] ["command|count" 2 {loading
              stale} 0 0 0 {@slow @connection} {} {} {}] ["command|getkeys" -4 {loading stale} 0 0 0 {@slow
              @connection} {} {} {}] ["command|docs" -2 {loading stale} 0 0 0 {@slow @connection}
              {"nondeterministic_output_order"} {} {}] ["command|info" -2 {loading stale} 0 0 0 {@slow @connection}
              {"nondeterministic_output_order"} {} {}]]]
            """#
        ),
        (
            "config",
            #"""
            ["config" -2 {} 0 0 0 {@slow} {} {} [["config|help" 2 {loading stale} 0 0 0 {@slow} {} {} {}]
              ["config|resetstat" 2 {admin noscript loading stale} 0 0 0 {@admin @slow @dangerous} {} {} {}]
              ["config|get" -3 {admin noscript loading stale} 0 0 0 {@admin @slow @dangerous} {} {} {}]
              ["config|set" -4 {admin noscript loading stale} 0 0 0 {@admin @slow @dangerous}
              {"request_policy:all_nodes" "response_policy:all_succeeded"} {} {}]]]
            """#
        ),
    ]
}
