// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"weak"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// Set gives the source a secret, in place of the one it has of that name. If it is
// wrong in any way the error says why, and the one before stays. Files that it names
// are watched.
func (s *Source) Set(name string, m *tlsv3.Secret) error {
	c := s.counters(name)
	c.attempt.Inc()
	slot := s.Slot(name, kindOf(m))
	err := s.store.fill(slot, func() (*reading, *Value, error) {
		r := s.store.reading()
		v, err := r.compile(m)
		return r, v, err
	}, c)
	if err != nil {
		c.rejected.Inc()
		return fmt.Errorf("secret %q: %w", name, err)
	}
	s.mu.Lock()
	delete(s.gone, name)
	s.mu.Unlock()
	c.success.Inc()
	return nil
}

func (s *Store) reading() *reading {
	return &reading{warn: func(w string) { s.log.Warn(w) }}
}

// fill reads a slot's value now and again whenever the files it is made of change.
func (s *Store) fill(slot *Slot, read func() (*reading, *Value, error), c *counters) error {
	r, v, err := read()
	if err != nil {
		return err
	}
	slot.value.Store(v)
	s.observe(slot, r.dirs, read, c)
	return nil
}

// observe reads the slot's value again when something changes in one of dirs, until
// nobody uses the slot any more.
func (s *Store) observe(slot *Slot, dirs []string, read func() (*reading, *Value, error), c *counters) {
	w := s.watcher()
	if w == nil {
		return
	}
	slices.Sort(dirs)
	ref := weak.Make(slot)
	name := slot.name
	w.watch(slot, slices.Compact(dirs), func() bool {
		slot := ref.Value()
		if slot == nil {
			return false
		}
		_, v, err := read()
		switch {
		case err != nil:
			s.log.Error("a secret changed and is wrong: the one before stays in use", "secret", name, "error", err)
			if c != nil {
				c.rotationFailed.Inc()
			}
		case slot.Load() == nil || slot.Load().sum != v.sum:
			slot.value.Store(v)
			s.log.Info("a secret was replaced", "secret", name)
			if c != nil {
				c.success.Inc()
			}
		}
		return true
	})
}

// Certificate returns the slot of a certificate that stands in the configuration.
// Its files are watched if it names a watched_directory.
func (s *Store) Certificate(p *tlsv3.TlsCertificate) (*Slot, error) {
	name := p.GetCertificateChain().GetFilename()
	watches := p.GetWatchedDirectory() != nil || watched(p.GetCertificateChain(), p.GetPrivateKey(), p.GetPkcs12(), p.GetOcspStaple())
	return s.inline(KindCertificate, name, watches, p, func(r *reading) (*Value, error) {
		if err := checkFields(p); err != nil {
			return nil, err
		}
		return r.certificate(p)
	})
}

// Validation returns the slot of a validation context that stands in the
// configuration.
func (s *Store) Validation(p *tlsv3.CertificateValidationContext) (*Slot, error) {
	name := p.GetTrustedCa().GetFilename()
	watches := p.GetWatchedDirectory() != nil || watched(p.GetTrustedCa(), p.GetCrl())
	return s.inline(KindValidation, name, watches, p, func(r *reading) (*Value, error) {
		if err := checkFields(p); err != nil {
			return nil, err
		}
		return r.validation(p)
	})
}

// TicketKeys returns the slot of session ticket keys that stand in the configuration.
func (s *Store) TicketKeys(p *tlsv3.TlsSessionTicketKeys) (*Slot, error) {
	return s.inline(KindTicketKeys, "", watched(p.GetKeys()...), p, func(r *reading) (*Value, error) {
		if err := checkFields(p); err != nil {
			return nil, err
		}
		return r.ticketKeys(p)
	})
}

// Data returns the slot of anything else that a data source has, as a generic secret whose
// bytes stand under "". A file is watched.
func (s *Store) Data(p *corev3.DataSource) (*Slot, error) {
	return s.inline(KindGeneric, p.GetFilename(), p.GetFilename() != "", p, func(r *reading) (*Value, error) {
		if err := checkFields(p); err != nil {
			return nil, err
		}
		text, _, err := r.data(p)
		if err != nil {
			return nil, err
		}
		v := &Value{kind: KindGeneric, Generic: map[string][]byte{"": text}}
		v.sum = r.hash.sum()
		return v, nil
	})
}

func watched(ds ...*corev3.DataSource) bool {
	return slices.ContainsFunc(ds, func(d *corev3.DataSource) bool { return d.GetWatchedDirectory() != nil })
}

// inline shares the slot with whoever has just the same secret.
func (s *Store) inline(kind Kind, name string, watches bool, p proto.Message, compile func(*reading) (*Value, error)) (*Slot, error) {
	if name == "" {
		name = "<inline>"
	}
	read := func() (*reading, *Value, error) {
		r := s.reading()
		v, err := compile(r)
		return r, v, err
	}
	r, v, err := read()
	if err != nil {
		return nil, err
	}
	key := shareKey{kind: kind, sum: v.sum}
	if watches {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			return nil, err
		}
		key.watches = string(b)
	}
	s.mu.Lock()
	for k, w := range s.shared {
		if w.Value() == nil {
			delete(s.shared, k)
		}
	}
	if slot := s.shared[key].Value(); slot != nil {
		s.mu.Unlock()
		return slot, nil
	}
	slot := &Slot{name: name, kind: kind}
	slot.value.Store(v)
	s.shared[key] = weak.Make(slot)
	s.mu.Unlock()
	if watches {
		s.observe(slot, r.dirs, read, nil)
	}
	return slot, nil
}

// Servers are where secrets come from that are neither in the configuration nor in
// files. The zero Servers know none.
type Servers struct {
	// Key names the source that a config source points to, "" what comes with the
	// configuration, and Wanted is told each time a secret of another is named.
	Key    func(*corev3.ConfigSource) (string, error)
	Wanted func(cs *corev3.ConfigSource, key, name string)
}

// Named returns the slot of a secret that is found by SDS: one that came with the
// configuration if there is no sds_config, or one of ADS without a management server;
// otherwise one of a file, which is watched, or of a management server. Those need not
// be there yet.
func (s *Store) Named(p *tlsv3.SdsSecretConfig, kind Kind) (*Slot, error) {
	name, src := p.GetName(), p.GetSdsConfig()
	if name == "" {
		return nil, errors.New("name: is missing")
	}
	path, watch := src.GetPathConfigSource().GetPath(), src.GetPathConfigSource().GetWatchedDirectory().GetPath()
	if p := src.GetPath(); p != "" { //nolint:staticcheck // Deprecated, still read.
		path = p
	}
	if path != "" {
		return s.file(path, watch, name, kind)
	}
	key := ""
	if src != nil && s.Key != nil {
		var err error
		if key, err = s.Key(src); err != nil {
			return nil, fmt.Errorf("sds_config: %w", err)
		}
	}
	source := s.Source(key)
	slot := source.Slot(name, kind)
	switch {
	case key != "":
		s.Wanted(src, key, name)
	case source.Has(name):
	case src != nil:
		return nil, fmt.Errorf("sds_config: no %s %q came with this configuration: have it sent together with what names it", kind, name)
	default:
		return nil, fmt.Errorf("name: there is no %s %q in static_resources.secrets: add it, or say in sds_config where it is found", kind, name)
	}
	return slot, nil
}

// Combiner returns what puts a validation context that came by SDS together with
// configured defaults, as protobuf merges messages (combined_validation_context).
func (s *Store) Combiner(defaults *tlsv3.CertificateValidationContext) func(*Value) (*Validation, error) {
	return func(v *Value) (*Validation, error) {
		dynamic, ok := v.Validation.source.(*tlsv3.CertificateValidationContext)
		if !ok {
			return v.Validation, nil
		}
		m := &tlsv3.CertificateValidationContext{}
		proto.Merge(m, defaults)
		proto.Merge(m, dynamic)
		if err := checkFields(m); err != nil {
			return nil, err
		}
		all, err := s.reading().validation(m)
		if err != nil {
			return nil, err
		}
		return all.Validation, nil
	}
}

// file returns a secret of a file with a DiscoveryResponse of Secrets.
func (s *Store) file(path, watch, name string, kind Kind) (*Slot, error) {
	src := s.Source("file:" + path)
	slot := src.Slot(name, kind)
	if slot.Load() != nil {
		return slot, nil
	}
	c := src.counters(name)
	read := func() (*reading, *Value, error) {
		c.attempt.Inc()
		r := s.reading()
		r.dirs = append(r.dirs, filepath.Dir(path))
		if watch != "" {
			r.dirs = append(r.dirs, watch)
		}
		m, err := secretOf(path, name)
		if err != nil {
			c.failure.Inc()
			return r, nil, fmt.Errorf("%s: secret %q: %w", path, name, err)
		}
		if got := kindOf(m); got != kind {
			c.rejected.Inc()
			return r, nil, fmt.Errorf("%s: secret %q is a %s: a %s is wanted", path, name, got, kind)
		}
		v, err := r.compile(m)
		if err != nil {
			c.rejected.Inc()
			return r, nil, fmt.Errorf("%s: secret %q: %w", path, name, err)
		}
		return r, v, nil
	}
	r, v, err := read()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		s.log.Warn("a secret is not there yet: connections that need it are refused until it comes", "error", err)
	} else {
		c.success.Inc()
		slot.value.Store(v)
	}
	s.observe(slot, r.dirs, read, c)
	return slot, nil
}

const secretURL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// secretOf reads a file as SDS has it: a DiscoveryResponse whose resources are
// Secrets, in YAML or JSON.
func secretOf(path, name string) (*tlsv3.Secret, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// The response itself is read as what it is in JSON, so that its message, which
	// comes with all of gRPC, is not needed here.
	doc := &structpb.Struct{}
	if _, problems := load.Message(path, text, doc, load.Options{}); xds.HasErrors(problems) {
		return nil, xds.Err(problems)
	}
	var names []string
	for i, r := range doc.GetFields()["resources"].GetListValue().GetValues() {
		fields := r.GetStructValue().GetFields()
		url := fields["@type"].GetStringValue()
		if url != secretURL {
			return nil, fmt.Errorf("resources[%d].@type: is %q: use %q", i, url, secretURL)
		}
		got := fields["name"].GetStringValue()
		names = append(names, got)
		if got != name {
			continue
		}
		delete(fields, "@type")
		b, err := r.GetStructValue().MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("resources[%d]: %w", i, err)
		}
		m := &tlsv3.Secret{}
		if _, problems := load.Message(fmt.Sprintf("%s: resources[%d]", path, i), b, m, load.Options{}); xds.HasErrors(problems) {
			return nil, xds.Err(problems)
		}
		return m, nil
	}
	return nil, fmt.Errorf("is not in the file, which has [%s]", strings.Join(names, " "))
}
