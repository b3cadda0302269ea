// Package probe waits for members' endpoints.
package probe

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// askEvery is the pause between two looks at an endpoint that is not ready.
const askEvery = 20 * time.Millisecond

// Wait returns once url answers 200, or ctx's error with what was seen last.
func Wait(ctx context.Context, url string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		seen, ok := ask(ctx, client, url)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last seen: %s", ctx.Err(), seen)
		case <-ticker.C:
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) (seen string, ok bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error(), false
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error(), false
	}
	defer response.Body.Close()
	// For the message only: half a body does as well.
	body, _ := io.ReadAll(io.LimitReader(response.Body, 512))
	return fmt.Sprintf("%s answered %s: %s", url, response.Status, body), response.StatusCode == http.StatusOK
}
