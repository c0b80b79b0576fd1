// SPDX-License-Identifier: Apache-2.0

// Command greeter is the workload of this package's tests. It answers GET /NAME with the variable NAME, GET /file/PATH
// with a file, and GET /ready with 200 once POST /ready was asked for, and with 503 before and after POST /unready. As
// "greeter cat FILE" it prints a file.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "cat" {
		text, err := os.ReadFile(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(string(text))
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "fail" {
		log.Fatal(os.Args[2])
	}
	log.SetFlags(0)
	log.Println("greeter starts as user", os.Getuid())
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		log.Println("greeter was told to end")
		os.Exit(0)
	}()
	var ready atomic.Bool
	http.HandleFunc("POST /ready", func(http.ResponseWriter, *http.Request) { ready.Store(true) })
	http.HandleFunc("POST /unready", func(http.ResponseWriter, *http.Request) { ready.Store(false) })
	http.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("POST /crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	http.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.PathValue("name"))) })
	http.HandleFunc("GET /file/{path...}", func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile("/" + r.PathValue("path"))
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
		}
		w.Write(text)
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
