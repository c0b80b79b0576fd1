// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// uses watches what Gateways use, for as long as one does.
type uses[K, V comparable] struct {
	make *memo.Func[K, V]
	of   map[K]*used[V]
}

// used is a value, and how many things of each Gateway use it.
type used[V any] struct {
	value V
	by    map[source.Name]int
}

// newUses returns uses of what f makes. alike is that of memo.NewFunc; nil compares by ==.
func newUses[K, V comparable](f func(*memo.Ctx, K) V, alike func(a, b V) bool) *uses[K, V] {
	if alike == nil {
		alike = memo.Equal[V]
	}
	return &uses[K, V]{make: memo.NewFunc(f, alike), of: map[K]*used[V]{}}
}

// use notes that something more of a Gateway uses key, and reports whether it is the
// first there.
func (u *uses[K, V]) use(db *memo.DB, key K, gateway source.Name) bool {
	held := u.of[key]
	if held == nil {
		u.make.Watch(db, key)
		held = &used[V]{value: u.make.Get(db.Ctx(), key), by: map[source.Name]int{}}
		u.of[key] = held
	}
	held.by[gateway]++
	return held.by[gateway] == 1
}

// drop is the opposite of use, and reports whether it was the last of the Gateway.
func (u *uses[K, V]) drop(db *memo.DB, key K, gateway source.Name) bool {
	held := u.of[key]
	if held.by[gateway]--; held.by[gateway] > 0 {
		return false
	}
	if delete(held.by, gateway); len(held.by) == 0 {
		delete(u.of, key)
		u.make.Unwatch(db, key)
	}
	return true
}

// get returns the value of what a Gateway uses.
func (u *uses[K, V]) get(key K, gateway source.Name) (v V, ok bool) {
	held := u.of[key]
	if held == nil || held.by[gateway] == 0 {
		return v, false
	}
	return held.value, true
}

// take takes a change, if it is one of u's, and calls changed for each Gateway that
// has another value now.
func (u *uses[K, V]) take(ch memo.Change, changed func(gateway source.Name, key K)) bool {
	key, v, ok := u.make.Watched(ch)
	if !ok {
		return false
	}
	if held := u.of[key]; held != nil && held.value != v {
		held.value = v
		for gateway := range held.by {
			changed(gateway, key)
		}
	}
	return true
}
