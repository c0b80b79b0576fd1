// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"weir.dev/weir/proxy/upstream"
)

// recheck is how often the files are looked at for changes.
const recheck = 5 * time.Second

// maxHostsFile bounds what is read of the hosts file, in bytes.
const maxHostsFile = 4 << 20

// systemFiles holds what resolv.conf and the hosts file say, and reads them again when
// they change.
type systemFiles struct {
	mu                sync.Mutex
	confPath, hostsAt string
	checked           time.Time
	confStamp, stamp  fileStamp
	config            *dns.ClientConfig
	table             map[string][]netip.Addr
}

type fileStamp struct {
	at   time.Time
	size int64
}

func newSystemFiles(conf, hosts string) *systemFiles {
	return &systemFiles{confPath: conf, hostsAt: hosts}
}

func (s *systemFiles) conf() *dns.ClientConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.config
}

// host looks a name up in the hosts file.
func (s *systemFiles) host(name string, family upstream.DNSFamily) (Answer, bool) {
	s.mu.Lock()
	s.refresh()
	addrs := s.table[strings.ToLower(strings.TrimSuffix(name, "."))]
	s.mu.Unlock()
	if len(addrs) == 0 {
		return Answer{}, false
	}
	a, err := byFamily(family, func(v6 bool) (Answer, error) {
		var a Answer
		for _, ip := range addrs {
			if ip.Is6() == v6 {
				a.Addrs = append(a.Addrs, ip)
			}
		}
		if len(a.Addrs) == 0 {
			return a, ErrEmpty
		}
		return a, nil
	})
	return a, err == nil
}

func (s *systemFiles) refresh() {
	now := time.Now()
	if s.config != nil && now.Sub(s.checked) < recheck {
		return
	}
	s.checked = now
	if st := stampOf(s.confPath); s.config == nil || st != s.confStamp {
		s.confStamp = st
		c, err := dns.ClientConfigFromFile(s.confPath)
		if err != nil {
			// resolv.conf(5): without the file the local machine is asked.
			c = &dns.ClientConfig{Port: "53", Ndots: 1, Timeout: 5, Attempts: 2}
		}
		s.config = c
	}
	if st := stampOf(s.hostsAt); s.table == nil || st != s.stamp {
		s.stamp = st
		s.table = map[string][]netip.Addr{}
		if f, err := os.Open(s.hostsAt); err == nil {
			s.table = parseHosts(io.LimitReader(f, maxHostsFile))
			f.Close()
		}
	}
}

func stampOf(path string) fileStamp {
	i, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{i.ModTime(), i.Size()}
}

// parseHosts reads hosts(5): an address and its names on each line. Lines that make no
// sense are passed over, as everywhere.
func parseHosts(r io.Reader) map[string][]netip.Addr {
	table := map[string][]netip.Addr{}
	in := bufio.NewScanner(r)
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		for _, name := range f[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			table[name] = append(table[name], ip.Unmap())
		}
	}
	return table
}
