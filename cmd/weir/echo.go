// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"weir.dev/weir/internal/echo"
	"weir.dev/weir/internal/logging"
)

func newEcho() *cobra.Command {
	var name string
	var addresses []string
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "echo",
		Short: "Run the demo backend: it answers each request with what it saw, as JSON",
		Long: `Run the demo backend, which answers each request with what it saw of it, as JSON: method, path, host,
headers, body size, protocol, and its own name. It speaks HTTP/1.1 and, without TLS, HTTP/2. gRPC calls are
answered with the messages that they bring, invocations of functions of AWS Lambda with the event.

A request may ask for trouble, by query parameter or header:

  ?delay=200ms   x-echo-delay: 200ms       wait before the answer, at most 5m
  ?status=503    x-echo-status: 503        answer with this status
  ?size=16384    x-echo-size: 16384        answer with so many bytes of filler, at most 64 MiB
                 x-echo-set-header: a: b   add this header to the answer`,
		Example: `  weir echo --address 127.0.0.1:9001 --name orders
  weir echo --address :9001 --address unix:/run/orders.sock
  curl -s 'http://127.0.0.1:9001/?status=503&delay=100ms'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logs, err := logging.New(cmd.ErrOrStderr(), logging.Options{})
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			server, err := echo.Listen(echoName(name), addresses...)
			if err != nil {
				return err
			}
			log := logs.Logger("main")
			for _, a := range server.Addresses() {
				log.Info("echo listens", "name", echoName(name), "address", a)
			}
			select {
			case err := <-server.Failed():
				_ = server.Close() // The error to tell is that of the listener.
				return err
			case <-ctx.Done():
			}
			stop() // A second signal ends at once.
			log.Info("draining", "at most", grace)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
			defer cancel()
			if err := server.Shutdown(ctx); err != nil {
				return fmt.Errorf("drain: requests were still in flight after %v: %w", grace, err)
			}
			log.Info("stopped")
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&addresses, "address", []string{"127.0.0.1:9001"}, "`host:port` or unix:PATH to listen on; may be repeated")
	f.StringVar(&name, "name", "", "what it calls itself (default: $POD_NAME, or else the host's name)")
	f.DurationVar(&grace, "drain-time", 30*time.Second, "longest `time` that requests in flight may take to finish on SIGTERM")
	return cmd
}

// echoName is the name given, or that of the pod, or that of the host.
func echoName(name string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "echo"
	}
	return cmp.Or(name, os.Getenv("POD_NAME"), host)
}
