extension CommandDocumentation {
    static let keyspace: [Entry] = [
        (
            "del",
            #"""
            ("summary" "Delete a key" "since" "1.0.0" "group" "generic" "complexity"
              "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1)."
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0 "flags" {multiple})])
            """#
        ),
        (
            "unlink",
            #"""
            ("summary"
              "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking."
              "since" "4.0.0" "group" "generic" "complexity"
              "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of."
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0 "flags" {multiple})])
            """#
        ),
        (
            "exists",
            #"""
            ("summary" "Determine if a key exists" "since" "1.0.0" "group" "generic" "complexity"
              "O(N) where N is the number of keys to check." "history" {["3.0.3"
              "Accepts multiple `key` arguments."]} "arguments" [("name" "key" "type" "key" "key_spec_index" 0
              "flags" {multiple})])
            """#
        ),
        (
            "expire",
            #"""
            ("summary" "Set a key's time to live in seconds" "since" "1.0.0" "group" "generic" "complexity" "O(1)"
              "history" {["7.0.0" "Added options: `NX`, `XX`, `GT` and `LT`."]} "arguments" [("name" "key" "type"
              "key" "key_spec_index" 0) ("name" "seconds" "type" "integer") ("name" "condition" "type" "oneof"
              "since" "7.0.0" "flags" {optional} "arguments" [("name" "nx" "type" "pure-token" "token" "NX") ("name"
              "xx" "type" "pure-token" "token" "XX") ("name" "gt" "type" "pure-token" "token" "GT") ("name" "lt"
              "type" "pure-token" "token" "LT")])])
            """#
        ),
        (
            "pexpire",
            #"""
            ("summary" "Set a key's time to live in milliseconds" "since" "2.6.0" "group" "generic" "complexity"
              "O(1)" "history" {["7.0.0" "Added options: `NX`, `XX`, `GT` and `LT`."]} "arguments" [("name" "key"
              "type" "key" "key_spec_index" 0) ("name" "milliseconds" "type" "integer") ("name" "condition" "type"
              "oneof" "since" "7.0.0" "flags" {optional} "arguments" [("name" "nx" "type" "pure-token" "token" "NX")
              ("name" "xx" "type" "pure-token" "token" "XX") ("name" "gt" "type" "pure-token" "token" "GT") ("name"
              "lt" "type" "pure-token" "token" "LT")])])
            """#
        ),
        (
            "expireat",
            #"""
            ("summary" "Set the expiration for a key as a UNIX timestamp" "since" "1.2.0" "group" "generic"
              "complexity" "O(1)" "history" {["7.0.0" "Added options: `NX`, `XX`, `GT` and `LT`."]} "arguments"
              [("name" "key" "type" "key" "key_spec_index" 0) ("name" "unix-time-seconds" "type" "unix-time")
              ("name" "condition" "type" "oneof" "since" "7.0.0" "flags" {optional} "arguments" [("name" "nx" "type"
              "pure-token" "token" "NX") ("name" "xx" "type" "pure-token" "token" "XX") ("name" "gt" "type"
              "pure-token" "token" "GT") ("name" "lt" "type" "pure-token" "token" "LT")])])
            """#
        ),
        (
            "pexpireat",
            #"""
            ("summary" "Set the expiration for a key as a UNIX timestamp specified in milliseconds" "since" "2.6.0"
              "group" "generic" "complexity" "O(1)" "history" {["7.0.0"
              "Added options: `NX`, `XX`, `GT` and `LT`."]} "arguments" [("name" "key" "type" "key" "key_spec_index"
              0) ("name" "unix-time-milliseconds" "type" "unix-time") ("name" "condition" "type" "oneof" "since"
              "7.0.0" "flags" {optional} "arguments" [("name" "nx" "type" "pure-token" "token" "NX") ("name" "xx"
              "type" "pure-token" "token" "XX") ("name" "gt" "type" "pure-token" "token" "GT") ("name" "lt" "type"
              "pure-token" "token" "LT")])])
            """#
        ),
        (
            "ttl",
            #"""
            ("summary" "Get the time to live for a key in seconds" "since" "1.0.0" "group" "generic" "complexity"
              "O(1)" "history" {["2.8.0" "Added the -2 reply."]} "arguments" [("name" "key" "type" "key"
              "key_spec_index" 0)])
            """#
        ),
        (
            "pttl",
            #"""
            ("summary" "Get the time to live for a key in milliseconds" "since" "2.6.0" "group" "generic"
              "complexity" "O(1)" "history" {["2.8.0" "Added the -2 reply."]} "arguments" [("name" "key" "type"
              "key" "key_spec_index" 0)])
            """#
        ),
        (
            "expiretime",
            #"""
            ("summary" "Get the expiration Unix timestamp for a key" "since" "7.0.0" "group" "generic" "complexity"
              "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "pexpiretime",
            #"""
            ("summary" "Get the expiration Unix timestamp for a key in milliseconds" "since" "7.0.0" "group"
              "generic" "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "persist",
            #"""
            ("summary" "Remove the expiration from a key" "since" "2.2.0" "group" "generic" "complexity" "O(1)"
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "type",
            #"""
            ("summary" "Determine the type stored at key" "since" "1.0.0" "group" "generic" "complexity" "O(1)"
              "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
            """#
        ),
        (
            "keys",
            #"""
            ("summary" "Find all keys matching the given pattern" "since" "1.0.0" "group" "generic" "complexity"
              "O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length."
              "arguments" [("name" "pattern" "type" "pattern")])
            """#
        ),
        (
            "scan",
            #"""
            ("summary" "Incrementally iterate the keys space" "since" "2.8.0" "group" "generic" "complexity"
              "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection."
              "history" {["6.0.0" "Added the `TYPE` subcommand."]} "arguments" [("name" "cursor" "type" "integer")
              ("name" "pattern" "type" "pattern" "token" "MATCH" "flags" {optional}) ("name" "count" "type"
              "integer" "token" "COUNT" "flags" {optional}) ("name" "type" "type" "string" "token" "TYPE" "since"
              "6.0.0" "flags" {optional})])
            """#
        ),
        (
            "rename",
            #"""
            ("summary" "Rename a key" "since" "1.0.0" "group" "generic" "complexity" "O(1)" "arguments" [("name"
              "key" "type" "key" "key_spec_index" 0) ("name" "newkey" "type" "key" "key_spec_index" 1)])
            """#
        ),
        (
            "renamenx",
            #"""
            ("summary" "Rename a key, only if the new key does not exist" "since" "1.0.0" "group" "generic"
              "complexity" "O(1)" "history" {["3.2.0"
              "The command no longer returns an error when source and destination names are the same."]} "arguments"
              [("name" "key" "type" "key" "key_spec_index" 0) ("name" "newkey" "type" "key" "key_spec_index" 1)])
            """#
        ),
        (
            "copy",
            #"""
            ("summary" "Copy a key" "since" "6.2.0" "group" "generic" "complexity"
              "O(N) worst case for collections, where N is the number of nested items. O(1) for string values."
              "arguments" [("name" "source" "type" "key" "key_spec_index" 0) ("name" "destination" "type" "key"
              "key_spec_index" 1) ("name" "destination-db" "type" "integer" "token" "DB" "flags" {optional}) ("name"
              "replace" "type" "pure-token" "token" "REPLACE" "flags" {optional})])
            """#
        ),
        (
            "touch",
            #"""
            ("summary" "Alters the last access time of a key(s). Returns the number of existing keys specified."
              "since" "3.2.1" "group" "generic" "complexity"
              "O(N) where N is the number of keys that will be touched." "arguments" [("name" "key" "type" "key"
              "key_spec_index" 0 "flags" {multiple})])
            """#
        ),
        (
            "randomkey",
            #"""
            ("summary" "Return a random key from the keyspace" "since" "1.0.0" "group" "generic" "complexity"
              "O(1)")
            """#
        ),
        (
            "object",
            #"""
            ("summary" "A container for object introspection commands" "since" "2.2.3" "group" "generic"
              "complexity" "Depends on subcommand." "subcommands" ("object|help" ("summary"
              "Show helpful text about the different subcommands" "since" "6.2.0" "group" "generic" "complexity"
              "O(1)") "object|idletime" ("summary" "Get the time since a Redis object was last accessed" "since"
              "2.2.3" "group" "generic" "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index"
              0)]) "object|freq" ("summary" "Get the logarithmic access frequency counter of a Redis object" "since"
              "4.0.0" "group" "generic" "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index"
              0)]) "object|encoding" ("summary" "Inspect the internal encoding of a Redis object" "since" "2.2.3"
              "group" "generic" "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])
              "object|refcount" ("summary" "Get the number of references to the value of the key" "since" "2.2.3"
              "group" "generic" "complexity" "O(1)" "arguments" [("name" "key" "type" "key" "key_spec_index" 0)])))
            """#
        ),
        (
            "dbsize",
            #"""
            ("summary" "Return the number of keys in the selected database" "since" "1.0.0" "group" "server"
              "complexity" "O(1)")
            """#
        ),
        (
            "flushdb",
            #"""
            ("summary" "Remove all keys from the current database" "since" "1.0.0" "group" "server" "complexity"
              "O(N) where N is the number of keys in the selected database" "history" {["4.0.0"
              "Added the `ASYNC` flushing mode modifier."] ["6.2.0" "Added the `SYNC` flushing mode modifier."]}
              "arguments" [("name" "async" "type" "oneof" "flags" {optional} "arguments" [("name" "async" "type"
              "pure-token" "token" "ASYNC" "since" "4.0.0") ("name" "sync" "type" "pure-token" "token" "SYNC"
              "since" "6.2.0")])])
            """#
        ),
        (
            "flushall",
            #"""
            ("summary" "Remove all keys from all databases" "since" "1.0.0" "group" "server" "complexity"
              "O(N) where N is the total number of keys in all databases" "history" {["4.0.0"
              "Added the `ASYNC` flushing mode modifier."] ["6.2.0" "Added the `SYNC` flushing mode modifier."]}
              "arguments" [("name" "async" "type" "oneof" "flags" {optional} "arguments" [("name" "async" "type"
              "pure-token" "token" "ASYNC" "since" "4.0.0") ("name" "sync" "type" "pure-token" "token" "SYNC"
              "since" "6.2.0")])])
            """#
        ),
    ]
}
