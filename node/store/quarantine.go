package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/ring"
)

// A directory whose disk has lost or changed something must not be opened again as the store that it was: it would vouch
// for what it no longer has. It is marked, and replaced when it is next opened, by OpenOrReplace:
//
//  1. The marker, QUARANTINED, says why, whose directory it was, and the name of the directory to move its files into. From
//     here on New refuses it.
//  2. IDENTITY, log/ and data/ are moved into that directory, quarantine-N, next to them.
//  3. A new IDENTITY is written: same node, same cluster, another store.
//  4. The marker is removed.
//
// Each step is durable before the next, and those that are done already are skipped. To the cluster the node is then a
// stranger with an empty disk, which is filled from the other copies.
//
// Of the directories moved aside two are kept, the oldest, with what the node had when trouble began, and the newest;
// those between are deleted. A person deletes the others.
const (
	quarantineFile   = "QUARANTINED"
	quarantineFormat = "kring-quarantine 1"
	quarantinePrefix = "quarantine-"
	maxReasonBytes   = 4 << 10
)

// ErrQuarantined means that the directory was marked by Quarantine: OpenOrReplace opens it as another store.
var ErrQuarantined = errors.New("store: data directory is quarantined")

// Damaged reports whether err, as Start or New gave it, says that the directory must not be opened again as the same
// store: something is corrupt, or could not be written or synced. A full disk is no such reason.
func Damaged(err error) bool {
	if errors.Is(err, ErrCorrupt) {
		return true
	}
	var stopped *stoppedError
	return errors.As(err, &stopped) && !vfs.IsNoSpaceError(err)
}

// quarantine is what the marker says.
type quarantine struct {
	reason string
	at     string
	old    Identity // zero if it could not be read
	into   string
}

// Quarantine marks dir, so that it is never opened again as the store that it is. The store may be open still, if it has
// stopped. A second mark changes nothing. fs is nil for the operating system's.
//
// The mark is durable, unless the disk syncs nothing any more. Then it lasts as long as what it warns of: what was written and
// not synced is still read back until the machine restarts, and after that, like the mark, is not.
func Quarantine(fs vfs.FS, dir, reason string) error {
	if fs == nil {
		fs = defaultFS
	}
	if _, found, err := readText(fs, dir, quarantineFile); found || err != nil {
		return err
	}
	old, _, err := readIdentity(fs, dir)
	if err != nil {
		reason += "; " + err.Error()
	}
	kept, err := listQuarantined(fs, dir)
	if err != nil {
		return err
	}
	number := 1
	if n := len(kept); n > 0 {
		number = kept[n-1] + 1
	}
	mark := encodeQuarantine(quarantine{
		reason: strings.ToValidUTF8(reason[:min(len(reason), maxReasonBytes)], ""),
		at:     time.Now().UTC().Format(time.RFC3339), old: old, into: quarantinePrefix + strconv.Itoa(number),
	})
	durable := writeText(fs, dir, quarantineFile, mark)
	if durable == nil {
		return nil
	}
	if err := putText(fs, dir, quarantineFile, mark, false); err != nil {
		return errors.Join(durable, err)
	}
	return nil
}

func encodeQuarantine(q quarantine) []byte {
	return encodeText(quarantineFormat,
		textField{"reason", strconv.Quote(q.reason)},
		textField{"at", strconv.Quote(q.at)},
		textField{"cluster", strconv.Quote(q.old.ClusterID)},
		textField{"node", strconv.Quote(string(q.old.Node))},
		textField{"store", fmt.Sprintf("%016x", uint64(q.old.Store))},
		textField{"boot", strconv.FormatUint(q.old.Boot, 10)},
		textField{"into", strconv.Quote(q.into)})
}

func decodeQuarantine(b []byte) (q quarantine, err error) {
	values, err := decodeText(b, quarantineFormat, "reason", "at", "cluster", "node", "store", "boot", "into")
	if err != nil {
		return quarantine{}, err
	}
	var errs [7]error
	var node string
	var store uint64
	q.reason, errs[0] = strconv.Unquote(values[0])
	q.at, errs[1] = strconv.Unquote(values[1])
	q.old.ClusterID, errs[2] = strconv.Unquote(values[2])
	node, errs[3] = strconv.Unquote(values[3])
	store, errs[4] = strconv.ParseUint(values[4], 16, 64)
	q.old.Boot, errs[5] = strconv.ParseUint(values[5], 10, 64)
	q.into, errs[6] = strconv.Unquote(values[6])
	q.old.Node, q.old.Store = ring.NodeID(node), ring.StoreID(store)
	if _, ok := quarantineNumber(q.into); !ok {
		errs[6] = errors.Join(errs[6], fmt.Errorf("its files cannot be moved into %q", q.into))
	}
	return q, errors.Join(errs[:]...)
}

// readQuarantine reads dir's marker; found is false if there is none. One that cannot be read is for a person to judge.
func readQuarantine(fs vfs.FS, dir string) (q quarantine, found bool, err error) {
	b, found, err := readText(fs, dir, quarantineFile)
	if err != nil || !found {
		return quarantine{}, false, err
	}
	if q, err = decodeQuarantine(b); err != nil {
		return quarantine{}, true, fmt.Errorf("store: %s: %w; move the directory aside and start the node with an empty one",
			fs.PathJoin(dir, quarantineFile), err)
	}
	return q, true, nil
}

// refuseQuarantined is New's check.
func refuseQuarantined(fs vfs.FS, dir string) error {
	q, found, err := readQuarantine(fs, dir)
	if err != nil || !found {
		return err
	}
	return fmt.Errorf("%w: %s, since %s: %s", ErrQuarantined, dir, q.at, q.reason)
}

// listQuarantined returns the numbers of the directories that were moved aside, ascending.
func listQuarantined(fs vfs.FS, dir string) ([]int, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	var numbers []int
	for _, name := range names {
		if n, ok := quarantineNumber(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func quarantineNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, quarantinePrefix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && strconv.Itoa(n) == digits
}

func newStoreID() ring.StoreID { return ring.StoreID(rand.Uint64() | 1) }
