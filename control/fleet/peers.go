// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
)

// A digest tells what a snapshot has from what another has, whatever their versions: two
// replicas that make the same of the same objects have the same. It is the sum of the
// hashes of all resources, so that a change costs what it changes.
type digest [2]uint64

// change makes d the digest of the snapshot that changes lead to.
func (d *digest) change(changes []xds.Change) {
	for i := range changes {
		c := &changes[i]
		x, y := hash(c.Kind, c.Name, c.Message)
		d[0], d[1] = d[0]+x, d[1]+y
		x, y = hash(c.Kind, c.Name, c.Old)
		d[0], d[1] = d[0]-x, d[1]-y
	}
}

// hash of a resource; what is not there has none.
func hash(kind xds.Kind, name string, m proto.Message) (x, y uint64) {
	if m == nil {
		return 0, 0
	}
	// It has been read or made as a message, so that it can be written as one.
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	h := sha256.New()
	fmt.Fprintf(h, "%s %q ", kind, name)
	h.Write(b)
	sum := h.Sum(nil)
	return binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])
}

// String is short, and can be in JSON.
func (d *digest) String() string {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, d[0]), d[1])
	return base64.RawStdEncoding.EncodeToString(b)
}

// standing is what has become of the proxies of a Gateway.
type standing struct {
	// Digest is of what they are served.
	Digest string `json:"digest"`
	// Proxies is how many are connected, of which Late have not answered to that; Names
	// are some of those.
	Proxies int      `json:"proxies"`
	Late    int      `json:"late,omitempty"`
	Names   []string `json:"names,omitempty"`
	// Refusals is what some of them refuse.
	Refusals []string `json:"refusals,omitempty"`
	// grouped is how many more are late than have a name, since one name stands for them.
	grouped int
}

// post is what a replica tells the others: of each Gateway of which proxies are connected
// to it. Nil is that it tells nothing, since it knows of no others.
type post struct {
	Gateways map[string]standing `json:"gateways"`
}

// add adds what another replica tells of a Gateway.
func (s *standing) add(o standing, replica string) {
	s.Proxies += o.Proxies
	s.Refusals = append(s.Refusals, o.Refusals...)
	if o.Digest == s.Digest {
		s.Late += o.Late
		s.Names = append(s.Names, o.Names...)
	} else if o.Proxies > 0 {
		// It is behind or ahead of this one, whatever its proxies have answered.
		s.Late, s.grouped = s.Late+o.Proxies, s.grouped+o.Proxies-1
		s.Names = append(s.Names, fmt.Sprintf("%d at %s, which serves another state", o.Proxies, replica))
	}
}

// standing is that of all proxies. It is called with mu.
func (r *Runner) standing(name source.Name, g *gateway) standing {
	s := g.standing()
	for _, id := range slices.Sorted(maps.Keys(r.peers)) {
		if o, ok := r.peers[id].Gateways[name.String()]; ok {
			s.add(o, id)
		}
	}
	return s
}

// unheard tells that another replica has not told yet of its proxies. It is called with mu.
func (r *Runner) unheard() bool {
	if r.o.Shared == nil {
		return false
	}
	for _, p := range r.peers {
		if p.Gateways == nil {
			return true
		}
	}
	return !r.heardAll
}

// shared tells that the others may have something to hear.
func (r *Runner) shared() {
	if r.o.Shared != nil {
		r.o.Shared()
	}
}

// Post returns what other replicas are to know of the proxies that are connected to this
// one. Alone, it says no more than that.
func (r *Runner) Post(alone bool) string {
	var p post
	if !alone {
		p.Gateways = map[string]standing{}
		r.mu.Lock()
		for name, g := range r.gateways {
			if len(g.clients) > 0 {
				s := g.standing()
				s.Names, s.Refusals = first(s.Names), first(s.Refusals)
				for i, text := range s.Refusals {
					s.Refusals[i] = text[:min(len(text), longest)]
				}
				p.Gateways[name.String()] = s
			}
		}
		r.mu.Unlock()
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("BUG: a post cannot be written: %v", err)) // It is numbers and texts.
	}
	return string(text)
}

// longest is how many bytes others are told of what a proxy refuses.
const longest = 1000

func first(list []string) []string { return slices.Clone(list[:min(len(list), most)]) }

// Peer takes what another replica has posted; nothing is that it is gone, and so are the
// proxies that were connected to it. The error is that it is no post.
func (r *Runner) Peer(replica, text string) error {
	var p post
	if text != "" {
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return fmt.Errorf("read what replica %s has posted: %w", replica, err)
		}
	}
	r.mu.Lock()
	was := r.peers[replica].Gateways
	if text == "" {
		delete(r.peers, replica)
	} else {
		r.peers[replica] = p
	}
	for name, g := range r.gateways {
		old, fresh := was[name.String()], p.Gateways[name.String()]
		switch {
		case text != "" && p.Gateways == nil, fresh.Proxies > old.Proxies, old.Proxies > 0 && fresh.Proxies == 0:
			r.wait(g)
		case old.Digest == fresh.Digest && old.Late == fresh.Late && old.Proxies == fresh.Proxies && slices.Equal(old.Refusals, fresh.Refusals):
			continue
		}
		r.changed[name] = true
	}
	r.mu.Unlock()
	r.woken()
	return nil
}

// Heard tells that Peer has been told of all replicas that there were.
func (r *Runner) Heard() {
	r.mu.Lock()
	r.heardAll = true
	for name := range r.gateways {
		r.changed[name] = true
	}
	r.mu.Unlock()
	r.woken()
}

// woken has what is known of proxies be told. Before it is known which Gateways there are,
// there is nothing to tell, and the first Hear must be of that.
func (r *Runner) woken() {
	select {
	case <-r.begun:
		r.o.Queue.Wake()
	default:
	}
}

// waiting tells that answers may still come. It is called with mu.
func (r *Runner) waiting(name source.Name, g *gateway) bool {
	if s := r.standing(name, g); s.Proxies > 0 && s.Late == 0 && !r.unheard() {
		return false
	}
	return time.Since(g.since) < r.o.Patience
}
