/// What COMMAND DOCS says of each command, in the notation of `ReplyNotation`: taken from a running redis-server
/// 7.0.15, subcommands cut down to those that are supported. The texts are Redis's: Copyright (c) 2006-2020, Salvatore
/// Sanfilippo and contributors, under the 3-clause BSD licence.
enum CommandDocumentation {
    typealias Entry = (name: StaticString, text: StaticString)

    /// By name, in the order of `CommandTable.specs`.
    static let entries = Self.strings + Self.keyspace + Self.connections

    private static let strings: [Entry] = [
        (
            "get",
            #"""
            ("summary" "Get the value of a key" "since" "1.0.0" "group" "string" "complexity" "O(1)" "arguments"
              [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "set",
            #"""
            ("summary" "Set the string value of a key" "since" "1.0.0" "group" "string" "complexity" "O(1)"
              "history" {["2.6.12" "Added the `EX`, `PX`, `NX` and `XX` options."] ["6.0.0"
              "Added the `KEEPTTL` option."] ["6.2.0" "Added the `GET`, `EXAT` and `PXAT` option."] ["7.0.0"
              "Allowed the `NX` and `GET` options to be used together."]} "arguments" [("name" "key" "type" "key"
              "key_spec_index" 0) ("name" "value" "type" "string") ("name" "condition" "type" "oneof" "since"
              "2.6.12" "flags" {optional} "arguments" [("name" "nx" "type" "pure-token" "token" "NX") ("name" "xx"
              "type" "pure-token" "token" "XX")]) ("name" "get" "type" "pure-token" "token" "GET" "since" "6.2.0"
              "flags" {optional}) ("name" "expiration" "type" "oneof" "flags" {optional} "arguments" [("name"
              "seconds" "type" "integer" "token" "EX" "since" "2.6.12") ("name" "milliseconds" "type" "integer"
              "token" "PX" "since" "2.6.12") ("name" "unix-time-seconds" "type" "unix-time" "token" "EXAT" "since"
              "6.2.0") ("name" "unix-time-milliseconds" "type" "unix-time" "token" "PXAT" "since" "6.2.0") ("name"
              "keepttl" "type" "pure-token" "token" "KEEPTTL" "since" "6.0.0")])])
            """#
        ),
        (
            "setnx",
            #"""
            ("summary" "Set the value of a key, only if the key does not exist" "since" "1.0.0" "group" "string"
              "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "value" "type"
              "string")])
            """#
        ),
        (
            "setex",
            #"""
            ("summary" "Set the value and expiration of a key" "since" "2.0.0" "group" "string" "complexity" "O(1)"
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "seconds" "type" "integer")
              ("name" "value" "type" "string")])
            """#
        ),
        (
            "psetex",
            #"""
            ("summary" "Set the value and expiration in milliseconds of a key" "since" "2.6.0" "group" "string"
              "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "milliseconds"
              "type" "integer") ("name" "value" "type" "string")])
            """#
        ),
        (
            "getset",
            #"""
            ("summary" "Set the string value of a key and return its old value" "since" "1.0.0" "group" "string"
              "complexity" "O(1)" "doc_flags" {deprecated} "deprecated_since" "6.2.0" "replaced_by"
              "`SET` with the `!GET` argument" "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name"
              "value" "type" "string")])
            """#
        ),
        (
            "getdel",
            #"""
            ("summary" "Get the value of a key and delete the key" "since" "6.2.0" "group" "string" "complexity"
              "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "getex",
            #"""
            ("summary" "Get the value of a key and optionally set its expiration" "since" "6.2.0" "group" "string"
              "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "expiration"
              "type" "oneof" "flags" {optional} "arguments" [("name" "seconds" "type" "integer" "token" "EX")
              ("name" "milliseconds" "type" "integer" "token" "PX") ("name" "unix-time-seconds" "type" "unix-time"
              "token" "EXAT") ("name" "unix-time-milliseconds" "type" "unix-time" "token" "PXAT") ("name" "persist"
              "type" "pure-token" "token" "PERSIST")])])
            """#
        ),
        (
            "mget",
            #"""
            ("summary" "Get the values of all the given keys" "since" "1.0.0" "group" "string" "complexity"
              "O(N) where N is the number of keys to retrieve." "arguments" [("name" "key" "type" "key"
              "key_spec_index" 0 "flags" {multiple})])
            """#
        ),
        (
            "mset",
            #"""
            ("summary" "Set multiple keys to multiple values" "since" "1.0.1" "group" "string" "complexity"
              "O(N) where N is the number of keys to set." "arguments" [("name" "key_value" "type" "block" "flags"
              {multiple} "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "value" "type"
              "string")])])
            """#
        ),
        (
            "msetnx",
            #"""
            ("summary" "Set multiple keys to multiple values, only if none of the keys exist" "since" "1.0.1"
              "group" "string" "complexity" "O(N) where N is the number of keys to set." "arguments" [("name"
              "key_value" "type" "block" "flags" {multiple} "arguments" [("name" "key" "type" "key" "key_spec_index"
              0) ("name" "value" "type" "string")])])
            """#
        ),
        (
            "incr",
            #"""
            ("summary" "Increment the integer value of a key by one" "since" "1.0.0" "group" "string" "complexity"
              "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "decr",
            #"""
            ("summary" "Decrement the integer value of a key by one" "since" "1.0.0" "group" "string" "complexity"
              "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "incrby",
            #"""
            ("summary" "Increment the integer value of a key by the given amount" "since" "1.0.0" "group" "string"
              "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "increment"
              "type" "integer")])
            """#
        ),
        (
            "decrby",
            #"""
            ("summary" "Decrement the integer value of a key by the given number" "since" "1.0.0" "group" "string"
              "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "decrement"
              "type" "integer")])
            """#
        ),
        (
            "incrbyfloat",
            #"""
            ("summary" "Increment the float value of a key by the given amount" "since" "2.6.0" "group" "string"
              "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "increment"
              "type" "double")])
            """#
        ),
        (
            "append",
            #"""
            ("summary" "Append a value to a key" "since" "2.0.0" "group" "string" "complexity"
              "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since the dynamic string library used by Redis will double the free space available on every reallocation."
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "value" "type" "string")])
            """#
        ),
        (
            "strlen",
            #"""
            ("summary" "Get the length of the value stored in a key" "since" "2.2.0" "group" "string" "complexity"
              "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "getrange",
            #"""
            ("summary" "Get a substring of the string stored at a key" "since" "2.4.0" "group" "string" "complexity"
              "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings."
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "start" "type" "integer") ("name"
              "end" "type" "integer")])
            """#
        ),
        (
            "substr",
            #"""
            ("summary" "Get a substring of the string stored at a key" "since" "1.0.0" "group" "string" "complexity"
              "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings."
              "doc_flags" {deprecated} "deprecated_since" "2.0.0" "replaced_by" "`GETRANGE`" "arguments" [("name"
              "key" "type" "key" "key_spec_index" 0) ("name" "start" "type" "integer") ("name" "end" "type"
              "integer")])
            """#
        ),
        (
            "setrange",
            #"""
            ("summary" "Overwrite part of a string at key starting at the specified offset" "since" "2.2.0" "group"
              "string" "complexity"
              "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument."
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0) ("name" "offset" "type" "integer") ("name"
              "value" "type" "string")])
            """#
        ),
        (
            "lcs",
            #"""
            ("summary" "Find longest common substring" "since" "7.0.0" "group" "string" "complexity"
              "O(N*M) where N and M are the lengths of s1 and s2, respectively" "arguments" [("name" "key1" "type"
              "key" "key_spec_index" 0) ("name" "key2" "type" "key" "key_spec_index" 0) ("name" "len" "type"
              "pure-token" "token" "LEN" "flags" {optional}) ("name" "idx" "type" "pure-token" "token" "IDX" "flags"
              {optional}) ("name" "len" "type" "integer" "token" "MINMATCHLEN" "flags" {optional}) ("name"
              "withmatchlen" "type" "pure-token" "token" "WITHMATCHLEN" "flags" {optional})])
            """#
        ),
    ]

    private static let connections: [Entry] = [
        (
            "exec",
            #"""
            ("summary" "Execute all commands issued after MULTI" "since" "1.2.0" "group" "transactions" "complexity"
              "Depends on commands in the transaction")
            """#
        ),
        (
            "multi",
            #"""
            ("summary" "Mark the start of a transaction block" "since" "1.2.0" "group" "transactions" "complexity"
              "O(1)")
            """#
        ),
        (
            "watch",
            #"""
            ("summary" "Watch the given keys to determine execution of the MULTI/EXEC block" "since" "2.2.0" "group"
              "transactions" "complexity" "O(1) for every key." "arguments" [("name" "key" "type" "key"
              "key_spec_index" 0 "flags" {multiple})])
            """#
        ),
        (
            "discard",
            #"""
            ("summary" "Discard all commands issued after MULTI" "since" "2.0.0" "group" "transactions" "complexity"
              "O(N), when N is the number of queued commands")
            """#
        ),
        (
            "unwatch",
            #"""
            ("summary" "Forget about all watched keys" "since" "2.2.0" "group" "transactions" "complexity" "O(1)")
            """#
        ),
        (
            "ping",
            #"""
            ("summary" "Ping the server" "since" "1.0.0" "group" "connection" "complexity" "O(1)" "arguments"
              [("name" "message" "type" "string" "flags" {optional})])
            """#
        ),
        (
            "echo",
            #"""
            ("summary" "Echo the given string" "since" "1.0.0" "group" "connection" "complexity" "O(1)" "arguments"
              [("name" "message" "type" "string")])
            """#
        ),
        (
            "hello",
            #"""
            ("summary" "Handshake with Redis" "since" "6.0.0" "group" "connection" "complexity" "O(1)" "history"
              {["6.2.0"
              "`protover` made optional; when called without arguments the command reports the current connection's context."]}
              "arguments" [("name" "arguments" "type" "block" "flags" {optional} "arguments" [("name" "protover"
              "type" "integer") ("name" "username_password" "type" "block" "token" "AUTH" "flags" {optional}
              "arguments" [("name" "username" "type" "string") ("name" "password" "type" "string")]) ("name"
              "clientname" "type" "string" "token" "SETNAME" "flags" {optional})])])
            """#
        ),
        (
            "auth",
            #"""
            ("summary" "Authenticate to the server" "since" "1.0.0" "group" "connection" "complexity"
              "O(N) where N is the number of passwords defined for the user" "history" {["6.0.0"
              "Added ACL style (username and password)."]} "arguments" [("name" "username" "type" "string" "since"
              "6.0.0" "flags" {optional}) ("name" "password" "type" "string")])
            """#
        ),
        (
            "select",
            #"""
            ("summary" "Change the selected database for the current connection" "since" "1.0.0" "group"
              "connection" "complexity" "O(1)" "arguments" [("name" "index" "type" "integer")])
            """#
        ),
        (
            "reset",
            #"""
            ("summary" "Reset the connection" "since" "6.2.0" "group" "connection" "complexity" "O(1)")
            """#
        ),
        (
            "quit",
            #"""
            ("summary" "Close the connection" "since" "1.0.0" "group" "connection" "complexity" "O(1)")
            """#
        ),
        (
            "info",
            #"""
            ("summary" "Get information and statistics about the server" "since" "1.0.0" "group" "server"
              "complexity" "O(1)" "history" {["7.0.0" "Added support for taking multiple section arguments."]}
              "arguments" [("name" "section" "type" "string" "flags" {optional multiple})])
            """#
        ),
        (
            "role",
            #"""
            ("summary" "Return the role of the instance in the context of replication" "since" "2.8.12" "group"
              "server" "complexity" "O(1)")
            """#
        ),
        (
            "wait",
            #"""
            ("summary"
              "Wait for the synchronous replication of all the write commands sent in the context of the current connection"
              "since" "3.0.0" "group" "generic" "complexity" "O(1)" "arguments" [("name" "numreplicas" "type"
              "integer") ("name" "timeout" "type" "integer")])
            """#
        ),
        (
            "client",
            #"""
            ("summary" "A container for client connection commands" "since" "2.4.0" "group" "connection"
              "complexity" "Depends on subcommand." "subcommands" ("client|kill" ("summary"
              "Kill the connection of a client" "since" "2.4.0" "group" "connection" "complexity"
              "O(N) where N is the number of client connections" "history" {["2.8.12" "Added new filter format."]
              ["2.8.12" "`ID` option."] ["3.2.0" "Added `master` type in for `TYPE` option."] ["5.0.0"
              "Replaced `slave` `TYPE` with `replica`. `slave` still supported for backward compatibility."]
              ["6.2.0" "`LADDR` option."]} "arguments" [("name" "filter" "type" "oneof" "arguments" [("name"
              "ip:port" "type" "string" "deprecated_since" "2.8.12") ("name" "new-format" "type" "oneof" "flags"
              {multiple} "arguments" [("name" "client-id" "type" "integer" "token" "ID" "since" "2.8.12" "flags"
              {optional}) ("name" "normal_master_slave_pubsub" "type" "oneof" "token" "TYPE" "since" "2.8.12"
              "flags" {optional} "arguments" [("name" "normal" "type" "pure-token" "token" "NORMAL") ("name"
              "master" "type" "pure-token" "token" "MASTER" "since" "3.2.0") ("name" "slave" "type" "pure-token"
              "token" "SLAVE") ("name" "replica" "type" "pure-token" "token" "REPLICA" "since" "5.0.0") ("name"
              "pubsub" "type" "pure-token" "token" "PUBSUB")]) ("name" "username" "type" "string" "token" "USER"
              "flags" {optional}) ("name" "ip:port" "type" "string" "token" "ADDR" "flags" {optional}) ("name"
              "ip:port" "type" "string" "token" "LADDR" "since" "6.2.0" "flags" {optional}) ("name" "yes/no" "type"
              "string" "token" "SKIPME" "flags" {optional})])])]) "client|list" ("summary"
              "Get the list of client connections" "since" "2.4.0" "group" "connection" "complexity"
              "O(N) where N is the number of client connections" "history" {["2.8.12"
              "Added unique client `id` field."] ["5.0.0" "Added optional `TYPE` filter."] ["6.0.0"
              "Added `user` field."] ["6.2.0"
              "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional `ID` filter."] ["7.0.0"
              "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."] ["7.0.3" "Added `ssub` field."]} "arguments"
              [("name" "normal_master_replica_pubsub" "type" "oneof" "token" "TYPE" "since" "5.0.0" "flags"
              {optional} "arguments" [("name" "normal" "type" "pure-token" "token" "NORMAL") ("name" "master" "type"
              "pure-token" "token" "MASTER") ("name" "replica" "type" "pure-token" "token" "REPLICA") ("name"
              "pubsub" "type" "pure-token" "token" "PUBSUB")]) ("name" "id" "type" "block" "token" "ID" "since"
              "6.2.0" "flags" {optional} "arguments" [("name" "client-id" "type" "integer" "flags" {multiple})])])
              "client|reply" ("summary" "Instruct the server whether to reply to commands" "since" "3.2.0" "group"
              "connection" "complexity" "O(1)" "arguments" [("name" "on_off_skip" "type" "oneof" "arguments"
              [("name" "on" "type" "pure-token" "token" "ON") ("name" "off" "type" "pure-token" "token" "OFF")
              ("name" "skip" "type" "pure-token" "token" "SKIP")])]) "client|no-evict" ("summary"
              "Set client eviction mode for the current connection" "since" "7.0.0" "group" "connection"
              "complexity" "O(1)" "arguments" [("name" "enabled" "type" "oneof" "arguments" [("name" "on" "type"
              "pure-token" "token" "ON") ("name" "off" "type" "pure-token" "token" "OFF")])]) "client|id" ("summary"
              "Returns the client ID for the current connection" "since" "5.0.0" "group" "connection" "complexity"
              "O(1)") "client|help" ("summary" "Show helpful text about the different subcommands" "since" "5.0.0"
              "group" "connection" "complexity" "O(1)") "client|getname" ("summary"
              "Get the current connection name" "since" "2.6.9" "group" "connection" "complexity" "O(1)")
              "client|setname" ("summary" "Set the current connection name" "since" "2.6.9" "group" "connection"
              "complexity" "O(1)" "arguments" [("name" "connection-name" "type" "string")]) "client|info" ("summary"
              "Returns information about the current client connection." "since" "6.2.0" "group" "connection"
              "complexity" "O(1)")))
            """#
        ),
        (
            "command",
            #"""
            ("summary" "Get array of Redis command details" "since" "2.8.13" "group" "server" "complexity"
              "O(N) where N is the total number of Redis commands" "subcommands" ("command|list" ("summary"
              "Get an array of Redis command names" "since" "7.0.0" "group" "server" "complexity"
              "O(N) where N is the total number of Redis commands" "arguments" [("name" "filterby" "type" "oneof"
              "token" "FILTERBY" "flags" {optional} "arguments" [("name" "module-name" "type" "string" "token"
              "MODULE") ("name" "category" "type" "string" "token" "ACLCAT") ("name" "pattern" "type" "pattern"
              "token" "PATTERN")])]) "command|help" ("summary" "Show helpful text about the different subcommands"
              "since" "5.0.0" "group" "server" "complexity" "O(1)") "command|count" ("summary"
              "Get total number of Redis commands" "since" "2.8.13" "group" "server" "complexity" "O(1)")
              "command|getkeys" ("summary" "Extract keys given a full Redis command" "since" "2.8.13" "group"
              "server" "complexity" "O(N) where N is the number of arguments to the command") "command|docs"
              ("summary" "Get array of specific Redis command documentation" "since" "7.0.0" "group" "server"
              "complexity" "O(N) where N is the number of commands to look up" "arguments" [("name" "command-name"
              "type" "string" "flags" {optional multiple})]) "command|info" ("summary"
              "Get array of specific Redis command details, or all when no argument is given." "since" "2.8.13"
              "group" "server" "complexity" "O(N) where N is the number of commands to look up" "history" {["7.0.0"
              "Allowed to be called with no argument to get info on all commands."]} "arguments" [("name"
              "command-name" "type" "string" "flags" {optional multiple})])))
            """#
        ),
        (
            "config",
            #"""
            ("summary" "A container for server configuration commands" "since" "2.0.0" "group" "server" "complexity"
              "Depends on subcommand." "subcommands" ("config|help" ("summary"
              "Show helpful text about the different subcommands" "since" "5.0.0" "group" "server" "complexity"
              "O(1)") "config|resetstat" ("summary" "Reset the stats returned by INFO" "since" "2.0.0" "group"
              "server" "complexity" "O(1)") "config|get" ("summary" "Get the values of configuration parameters"
              "since" "2.0.0" "group" "server" "complexity"
              "O(N) when N is the number of configuration parameters provided" "history" {["7.0.0"
              "Added the ability to pass multiple pattern parameters in one call"]} "arguments" [("name" "parameter"
              "type" "block" "flags" {multiple} "arguments" [("name" "parameter" "type" "string")])]) "config|set"
              ("summary" "Set configuration parameters to the given values" "since" "2.0.0" "group" "server"
              "complexity" "O(N) when N is the number of configuration parameters provided" "history" {["7.0.0"
              "Added the ability to set multiple parameters in one call."]} "arguments" [("name" "parameter_value"
              "type" "block" "flags" {multiple} "arguments" [("name" "parameter" "type" "string") ("name" "value"
              "type" "string")])])))
            """#
        ),
    ]
}
