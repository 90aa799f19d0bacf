package coordinator

import (
	"time"

	"banyan/mesh"
	"banyan/mesh/wire"
	"banyan/record"
)

// Defaults of Config.
const (
	// DefaultHeadInterval is the default time between two heads.
	DefaultHeadInterval = 3 * time.Second
	// DefaultPushLimit is the default maximum size of a body that is pushed behind its
	// announcement, in bytes.
	DefaultPushLimit = 16 << 10
	// DefaultMaxBody is the default maximum size of a body, in bytes.
	DefaultMaxBody = record.MaxBody
	// defaultDiskReserve is the default number of bytes that must stay free on disk.
	defaultDiskReserve = 32 << 20
)

// Limits of the agents, the censuses and the rollouts.
const (
	// censusDelay is the time from a change in the number of agents to the census that
	// the leader gets. Changes within this time are sent together.
	censusDelay = 100 * time.Millisecond
	// minCensusAge is the minimum time without a census after which a coordinator no
	// longer counts.
	minCensusAge = 30 * time.Second
	// censusIntervals is the number of missed censuses after which a coordinator no longer
	// counts, if that takes longer than minCensusAge. A census comes with each head.
	censusIntervals = 5
	// freshIntervals is the number of missed censuses after which a status no longer counts the
	// hosts of a coordinator, if that takes longer than minFresh.
	freshIntervals = 3
	// minFresh is the minimum time without a census after which a status no longer counts the
	// hosts of a coordinator.
	minFresh = 5 * time.Second
	// coverWait is the time to wait for a census of every region. A leader that has just
	// started has heard of no coordinator yet.
	coverWait = 10 * time.Second
	// maxInventory is the maximum number of hosts in the inventory. One more is not listed.
	maxInventory = 200_000
	// maxCounts is the maximum number of counts of the inventory that are kept for a region.
	maxCounts = 1000
	// hostBatch is the maximum number of hosts of the inventory in one transaction.
	hostBatch = 100
	// sweepBatch is the maximum number of expired holds that are removed in one transaction.
	sweepBatch = 50
	// rosterBatch is the maximum number of hosts that came, and that left, in one report of a
	// coordinator.
	rosterBatch = 40
	// maxReporters is the maximum number of coordinators whose reports are kept.
	maxReporters = 1000
	// listedHosts is the maximum number of hosts that a status names.
	listedHosts = 5
	// maxRollouts is the maximum number of rollouts at once. A census has room for the
	// sizes of that many waves.
	maxRollouts = wire.MaxWaves
	// quietSteps is the maximum number of rollouts without news that are judged in a rollout.Tick:
	// 256 rollouts are judged once a second each.
	quietSteps = 64
	// viewAge is the time after which a rollout counts the hosts of all its regions again, and not only
	// those of regions that have changed.
	viewAge = 10 * time.Second
	// maxNews is the maximum number of pieces of news between two steps. With more, every rollout
	// counts all of its regions.
	maxNews = 10_000
	// keptHistory is the number of rollouts before the newest that are kept for a config.
	keptHistory = 20
	// maxHolds is the maximum number of holds in force. One more is refused.
	maxHolds = 1000
	// listedHolds is the maximum number of holds in a hint.
	listedHolds = 5
	// maxPlans is the maximum number of plans, and of defaults. One more is refused.
	maxPlans = 1000
	// maxTwoPersons is the maximum number of prefixes that need a second person.
	maxTwoPersons = 256
	// maxLogEntries is the maximum number of entries of the journal in an answer.
	maxLogEntries = 10_000
	// maxDrift is the maximum number of drifts that are kept.
	maxDrift = 10_000
	// storedDrifts is the maximum number of drifts that are remembered across restarts.
	storedDrifts = 1000
	// driftAge is the time for which a drift is listed after the last report. An agent
	// reports a drift at each look at the files.
	driftAge = 10 * time.Minute
)

// Limits of gates.
const (
	// gateTimeout is the maximum duration of one request to a gate.
	gateTimeout = 10 * time.Second
	// queryTimeout is the maximum duration of a query within Prometheus. It is shorter
	// than gateTimeout, to leave time for Prometheus to answer with an error.
	queryTimeout = "8s"
	// maxAnswer is the maximum size of an answer that is read, in bytes.
	maxAnswer = 1 << 20
	// quotedSamples is the maximum number of samples in the detail of an answer.
	quotedSamples = 3
)

// Limits of the control API.
const (
	// maxRequest is the maximum size of the JSON of a request, in bytes.
	maxRequest = 64 << 10
	// maxHistory is the maximum number of versions that a listing returns.
	maxHistory = 1000
	// pageOfRollouts is the maximum number of rollouts in an answer.
	pageOfRollouts = 500
	// surveyWait is the default time to wait for the answers of a survey.
	surveyWait = 3 * time.Second
	// maxSurveyWait is the maximum time to wait for the answers of a survey.
	maxSurveyWait = 30 * time.Second
	// maxHoldings is the maximum number of answers that are kept.
	maxHoldings = 1 << 20
)

// Limits of the log and of the end of a coordinator.
const (
	// failuresEvery is the minimum time between two messages about steps of rollouts that fail for
	// one cause.
	failuresEvery = time.Minute
	// maxFailures is the maximum number of failing configs that are remembered.
	maxFailures = 10_000
	// drainTimeout is the maximum time for which a coordinator that was told to stop finishes
	// requests.
	drainTimeout = 20 * time.Second
	// flushTimeout is the maximum time for which the answers to finished requests are sent.
	flushTimeout = 2 * time.Second
)

// The wait of a leader that has just started for its hosts.
const (
	// DefaultHostWait is the default maximum time for which a leader waits for its hosts. A host
	// tries to connect every 15 s at the least, and a connection may take some seconds.
	DefaultHostWait = 20 * time.Second
	// musterEvery is the time between two looks for hosts.
	musterEvery = 50 * time.Millisecond
	// objectionWait is the time that a host has to show newer records after it was attached.
	objectionWait = 500 * time.Millisecond
)

// Recovery of a lost history.
const (
	// recoverWait is the time for which hosts are waited for, unless the request says otherwise.
	recoverWait = 30 * time.Second
	// keepWait is the same if the store's history is kept.
	keepWait = 10 * time.Second
	// regionWait is the maximum time for which a recovery waits for a follower or a host of each region.
	regionWait = 20 * time.Second
	// adoptPause is the time between two attempts to adopt pointers, if some were not adopted.
	adoptPause = time.Minute
	// maxRecovered is the maximum number of pointers that are recovered at once.
	maxRecovered = mesh.MaxPointers
	// maxHolders is the number of hosts that are asked for the versions of one config.
	maxHolders = 16
)

// Intervals of work in the background.
const (
	// rosterEvery is the time between two reports of the hosts in a tree, if none comes or leaves.
	rosterEvery = 3 * time.Second
	// rosterAge is the time without a report after which a coordinator's hosts count as gone.
	rosterAge = 30 * time.Second
	// rosterFresh is the time without a report after which a listing no longer says that a
	// coordinator's hosts are attached now.
	rosterFresh = 3 * rosterEvery
	// reportedEvery is the time between two writes of the times of the reports.
	reportedEvery = time.Minute
	// inventoryEvery is the time between two writes of the inventory.
	inventoryEvery = time.Second
	// uploadAge is the time for which a body without a version is kept: the version is stored after the
	// upload of its body.
	uploadAge = 24 * time.Hour
	// partialAge is the time for which a partial body is kept after its last shard came.
	partialAge = 24 * time.Hour
	// sizesEvery is the minimum time between two writes of the document of sizes.
	sizesEvery = 10 * time.Second
	// sweepEvery is the minimum time between two removals of expired holds.
	sweepEvery = time.Minute
	// gossipInterval is the time between two looks at the revisions. A revision is
	// gossiped after it grew.
	gossipInterval = 250 * time.Millisecond
	// joinEvery is the number of looks between two attempts to join the wide-area pool.
	joinEvery = 20
)
