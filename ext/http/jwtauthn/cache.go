// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	"container/list"
	"crypto/sha256"

	"weir.dev/weir/internal/jose"
)

// hash is that of a token: the tokens themselves are secrets, and long.
type hash = [sha256.Size]byte

// cache remembers verified tokens, those used last. It belongs to one loop.
type cache struct {
	most    int
	entries map[hash]*list.Element
	order   *list.List // of *cached, the last used first
}

type cached struct {
	key  hash
	v    *verified
	keys *jose.Keys
}

func newCache(most int) *cache {
	return &cache{most: most, entries: map[hash]*list.Element{}, order: list.New()}
}

// get returns what is known of a token that was verified with keys. Whether it has
// expired is for the caller to tell.
func (c *cache) get(key hash, keys *jose.Keys) *verified {
	e := c.entries[key]
	if e == nil {
		return nil
	}
	x := e.Value.(*cached)
	if x.keys != keys {
		c.drop(e)
		return nil
	}
	c.order.MoveToFront(e)
	return x.v
}

// put remembers a token.
func (c *cache) put(key hash, v *verified, keys *jose.Keys) {
	if e := c.entries[key]; e != nil {
		c.drop(e)
	}
	c.entries[key] = c.order.PushFront(&cached{key, v, keys})
	if c.order.Len() > c.most {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	delete(c.entries, c.order.Remove(e).(*cached).key)
}
