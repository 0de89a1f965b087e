#!/usr/bin/env bash
# A failed job leaves the others running: exit 2.
source "$(dirname "$0")/common.sh"
"$PROBE" images data 9 12 7
# At this rate weight decay turns the temperature negative in the first step.
good=$(config '"epochs": 2, "name": "good",' | sed '$d')
bad=$(config '"epochs": 2, "name": "bad", "weight_decay": 1,' | sed '1d; s/"learning_rate": 0.001/"learning_rate": 100/')
printf '%s\n}, {\n%s\n' "$good" "$bad" >c.json
for n in 1 2; do
    train $n c.json --data-dir data --output-dir out$n --log-dir logs --backend cpu --set use_superclip_loss=true
    [ $rc = 2 ] || die "exit $rc instead of 2"
    [ -s out$n/good/cv_summary.json ] && [ ! -e out$n/bad/cv_summary.json ] || die "summaries"
    [ "$(grep -h 'job failed' out err | wc -l)" = 3 ] || die "three failures to be told"
    grep -q '3 finished.*3 failed' out || die "no verdict"
done
same_bytes out1/good out2/good
echo "app_failures: ok"
