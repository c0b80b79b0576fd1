// SPDX-License-Identifier: Apache-2.0

package omitcanaryhosts

import "weir.dev/weir/proxy/upstream"

func predicate(h *upstream.Host, _ []*upstream.Host) bool { return h.Canary }
