// SPDX-License-Identifier: Apache-2.0

package tokenbucket

import (
	"errors"
	"time"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// minInterval is the shortest fill_interval that Envoy's local rate limits take.
const minInterval = 50 * time.Millisecond

// Compile reads the TokenBucket of a local rate limit. By default one token is added
// in an interval, which is at least 50 ms. Errors begin with the field.
func Compile(m *typev3.TokenBucket) (Rate, error) {
	r := Rate{Most: uint64(m.GetMaxTokens()), Fill: 1, Every: m.GetFillInterval().AsDuration()}
	if v := m.GetTokensPerFill(); v != nil {
		r.Fill = uint64(v.GetValue())
	}
	if r.Every < minInterval {
		return Rate{}, errors.New("fill_interval: is below 50ms: raise it, and tokens_per_fill with it")
	}
	return r, nil
}
