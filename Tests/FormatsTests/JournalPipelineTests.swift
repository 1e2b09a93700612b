import Formats
import Replication
import Testing

/// What the journal does when the disk refuses, step by step.
@Suite struct JournalPipelineTests {
    private static let segmentBytes = 64 << 10
    private static let identity = JournalIdentity(
        cluster: ClusterID(high: 5, low: 6), node: NodeID(1), incarnation: Incarnation(high: 7, low: 8))

    private func pipeline(hasReserve: Bool = true) -> JournalPipeline {
        let writer = JournalWriter(
            identity: Self.identity, segmentBytes: Self.segmentBytes, recovered: RecoveredJournal([]))
        return JournalPipeline(writer: writer, maxBatchBytes: Self.segmentBytes / 4, hasReserve: hasReserve)
    }

    private func state(_ term: Term) -> JournalRecord { .hardState(.default, HardState(term: term, votedFor: nil)) }

    private func entry(_ index: LogIndex, bytes: Int = 100) -> JournalRecord {
        .entry(
            Entry(
                group: .default, index: index, term: 1, time: WallTime(nanoseconds: index), kind: .commands,
                payload: [UInt8](repeating: 1, count: bytes), previousHash: .zero, key: Self.identity.hashKey))
    }

    private func plan(_ step: JournalPipeline.Step?) throws -> JournalWriter.Plan {
        guard case .write(let plan)? = step else { throw NotAWrite(step: "\(String(describing: step))".prefix(80)) }
        return plan
    }

    private struct NotAWrite: Error { var step: Substring }

    @Test func aFailedBatchGoesIntoAnotherSegmentOnce() throws {
        var pipeline = self.pipeline()
        pipeline.submit([self.entry(1)], ticket: 1)
        let first = try self.plan(pipeline.next())
        #expect(pipeline.next() == nil, "one step at a time")
        pipeline.failed(.inputOutput)
        #expect(pipeline.takeEvents().isEmpty)
        let second = try self.plan(pipeline.next())
        #expect(second.file != first.file)
        pipeline.completed()
        #expect(pipeline.takeEvents() == [.durable(ticket: 1, bytes: second.bytes.count)], "what failed is not counted")
        #expect(pipeline.isIdle)
    }

    @Test func theNextSegmentIsNearWhenHalfOfThisOneIsUsed() throws {
        var pipeline = self.pipeline()
        #expect(pipeline.writer.isPastHalf, "there is none yet")
        var blocks = 0
        while blocks < 8 {
            pipeline.submit([self.entry(LogIndex(blocks + 1))], ticket: UInt64(blocks + 1))
            blocks += try self.plan(pipeline.next()).bytes.count / 4096
            pipeline.completed()
            #expect(pipeline.writer.isPastHalf == (blocks >= 8), "\(blocks) of 16")
        }
    }

    @Test func theCurrentSegmentIsGivenUpToo() throws {
        var pipeline = self.pipeline()
        pipeline.submit([self.entry(1)], ticket: 1)
        let first = try self.plan(pipeline.next())
        pipeline.completed()
        pipeline.submit([self.entry(2)], ticket: 2)
        #expect(try self.plan(pipeline.next()).file == first.file)
        pipeline.failed(.inputOutput)
        #expect(try self.plan(pipeline.next()).file != first.file)
    }

    /// What rotted in the current segment is repeated at the head of the next, also where nothing else is to be written.
    @Test func aSegmentIsBegunOnDemand() throws {
        var pipeline = self.pipeline()
        pipeline.submit([self.state(3), self.entry(1)], ticket: 1)
        let first = try self.plan(pipeline.next())
        pipeline.completed()
        pipeline.submit([self.entry(2)], ticket: 2)
        pipeline.submit([], ticket: 3, beginsSegment: true)
        pipeline.submit([self.entry(3)], ticket: 4)
        let rest = try self.plan(pipeline.next())
        #expect(rest.file == first.file, "what was submitted before goes where it would have")
        pipeline.completed()
        let second = try self.plan(pipeline.next())
        #expect(second.file != first.file && second.offset == 0)
        #expect(pipeline.extents.map(\.durableBlocks).last == 0, "not durable yet")
        pipeline.completed()
        let durable: [JournalPipeline.Event] = [
            .durable(ticket: 1, bytes: first.bytes.count), .durable(ticket: 2, bytes: rest.bytes.count),
            .durable(ticket: 4, bytes: second.bytes.count),
        ]
        #expect(pipeline.takeEvents() == durable)
        let scan = second.bytes.withUnsafeBytes { SegmentScan($0, identity: Self.identity) }
        guard case .records(let records, _)? = scan.batches.first?.content else {
            Issue.record("unreadable")
            return
        }
        var (states, ends) = (0, 0)
        for case .good(let record) in records {
            if case .hardState = record { states += 1 }
            if case .end = record { ends += 1 }
        }
        #expect(states == 1 && ends == 1, "the table")
    }

    @Test func afterTwoFailuresNothingIsConfirmedUntilARetrySucceeds() throws {
        var pipeline = self.pipeline()
        pipeline.submit([self.state(3), self.entry(1)], ticket: 1)
        for _ in 0..<2 {
            _ = try self.plan(pipeline.next())
            pipeline.failed(.inputOutput)
        }
        #expect(pipeline.takeEvents() == [.failed(.inputOutput, canPromise: false)])
        #expect(pipeline.next() == nil && pipeline.isFailing)
        pipeline.submit([self.state(4)], ticket: 2)
        #expect(pipeline.next() == nil, "no vote either")
        var files: Set<UInt32> = []
        for _ in 0..<5 {
            pipeline.retry()
            #expect(files.insert(try self.plan(pipeline.next()).file).inserted, "never to pages that failed")
            pipeline.failed(.inputOutput)
        }
        #expect(pipeline.takeEvents().isEmpty, "told once")
        #expect(pipeline.retryPause == .seconds(8), "less and less often")
        pipeline.retry()
        let last = try self.plan(pipeline.next())
        pipeline.completed()
        #expect(pipeline.takeEvents() == [.durable(ticket: 2, bytes: last.bytes.count), .recovered])
    }

    @Test func allBytesThatTheDiskGotAreToldOnce() throws {
        var pipeline = self.pipeline()
        pipeline.submit((1...9).map { self.entry($0, bytes: 5000) }, ticket: 1)
        pipeline.submit([self.entry(10)], ticket: 2)
        var written = 0
        var told = 0
        while let step = pipeline.next() {
            written += try self.plan(step).bytes.count
            pipeline.completed()
            for case .durable(_, let bytes) in pipeline.takeEvents() { told += bytes }
        }
        #expect(written > 9 * 5000 && written % 4096 == 0)
        #expect(told == written)
    }

    @Test func aFullDiskPromisesFromTheReserveAndMakesItAgainFirst() throws {
        var pipeline = self.pipeline()
        pipeline.submit([self.state(3), self.entry(1)], ticket: 1)
        for _ in 0..<2 {
            _ = try self.plan(pipeline.next())
            pipeline.failed(.full)
        }
        #expect(pipeline.takeEvents() == [.failed(.full, canPromise: true)])
        guard case .takeReserve(let file)? = pipeline.next() else {
            Issue.record("the reserve is not used")
            return
        }
        pipeline.reserveTaken()
        let promise = try self.plan(pipeline.next())
        var bytes = promise.bytes.count
        #expect(promise.file == file && !promise.isNew)
        #expect(pipeline.recordsUnderway == [self.state(3)])
        // Comes while the promise is written: not part of it.
        pipeline.submit([self.state(5)], ticket: 2)
        pipeline.completed()
        #expect(pipeline.takeEvents() == [.promised(ticket: 1)])
        let second = try self.plan(pipeline.next())
        bytes += second.bytes.count
        #expect(second.file == file)
        #expect(pipeline.recordsUnderway == [self.state(5)])
        pipeline.completed()
        #expect(pipeline.takeEvents() == [.promised(ticket: 2)])
        #expect(pipeline.next() == nil)

        pipeline.retry()
        guard case .makeReserve? = pipeline.next() else {
            Issue.record("the reserve comes first")
            return
        }
        pipeline.failed(.full)
        #expect(pipeline.takeEvents().isEmpty && pipeline.next() == nil)
        pipeline.retry()
        _ = pipeline.next()
        pipeline.reserveMade()
        bytes += try self.plan(pipeline.next()).bytes.count
        #expect(pipeline.recordsUnderway == [self.entry(1)], "an older vote does not come after a newer one")
        pipeline.completed()
        #expect(pipeline.takeEvents() == [.durable(ticket: 2, bytes: bytes), .recovered])
        #expect(pipeline.isIdle && pipeline.hasReserve)
    }

    @Test func withoutAReserveAFullDiskPromisesNothing() throws {
        var pipeline = self.pipeline(hasReserve: false)
        pipeline.submit([self.state(3)], ticket: 1)
        for _ in 0..<2 {
            _ = try self.plan(pipeline.next())
            pipeline.failed(.full)
        }
        #expect(pipeline.takeEvents() == [.failed(.full, canPromise: false)])
        #expect(pipeline.next() == nil)
    }

    @Test func onlyPromisedStatesNeedNoOtherWrite() throws {
        var pipeline = self.pipeline()
        pipeline.submit([self.state(3)], ticket: 1)
        for _ in 0..<2 {
            _ = try self.plan(pipeline.next())
            pipeline.failed(.full)
        }
        _ = pipeline.next()
        pipeline.reserveTaken()
        let promise = try self.plan(pipeline.next())
        pipeline.completed()
        pipeline.retry()
        _ = pipeline.next()
        pipeline.reserveMade()
        _ = pipeline.takeEvents()
        #expect(pipeline.next() == nil)
        #expect(pipeline.takeEvents() == [.durable(ticket: 1, bytes: promise.bytes.count), .recovered])
        #expect(pipeline.isIdle && !pipeline.isFailing)
    }
}
