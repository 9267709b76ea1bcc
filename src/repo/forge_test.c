// The forge with git as its peer: pushes are durable and announced before git knows, or put back.
#include "base/file.h"
#include "base/str.h"
#include "repo/forge_shop_test.h"
#include "repo/repo.h"

#include <stdio.h>
#include <string.h>

static const char zeros[] = "0000000000000000000000000000000000000000";

static bool stand_head_is(stand *s, const char *branch, const char *commit)
{
    char head[41];
    return repo_head(s->repository, str_of(branch), head).code == OK && strcmp(head, commit) == 0;
}

TEST(forge_path_is_an_owner_and_a_repository)
{
    CHECK(forge_is_path(STR("/alice/tb_hello.git/info/refs")));
    CHECK(forge_is_path(STR("/alice/tb.git/git-receive-pack")) &&
          forge_is_path(STR("/alice/tb.git/HEAD")));
    CHECK(!forge_is_path(STR("/alice/tb.git")) && !forge_is_path(STR("/alice/tb/info/refs")));
    CHECK(!forge_is_path(STR("/../tb.git/info/refs")) &&
          !forge_is_path(STR("/alice/..git/info/refs")));
    CHECK(!forge_is_path(STR("/.a/tb.git/info/refs")) &&
          !forge_is_path(STR("/al%69ce/tb.git/info/refs")));
    CHECK(!forge_is_path(STR("//tb.git/info/refs")) &&
          !forge_is_path(STR("/alice/.git/info/refs")));
    CHECK(!forge_is_path(STR("/")) && !forge_is_path(STR("")));
}

TEST(forge_push_is_announced_and_cloned_again)
{
    stand s;
    stand_open(&s);
    CHECK(stand_run(&s, "git ls-remote $U && git clone -q $U empty") ==
          0); // an empty repository is fine
    CHECK(stand_run(&s, "cd $W && git push origin main") == 0);
    CHECK(stand_said(&s, "remote: job JOB1 queued"));
    CHECK(s.pushes_count == 1 && strcmp(s.pushes[0].ref, "refs/heads/main") == 0);
    CHECK(strcmp(s.pushes[0].before, zeros) == 0 && stand_head_is(&s, "main", s.pushes[0].after));
    CHECK(strcmp(s.pushes[0].subject, "first one") == 0 &&
          strcmp(s.pushes[0].author, "Alice A") == 0);
    CHECK(stand_run(&s, "cd $W && git push origin main") == 0 && stand_said(&s, "up-to-date"));
    CHECK(s.pushes_count == 1);
    CHECK(stand_run(&s, "git -c protocol.version=2 clone -q $U two && cmp two/f $W/f") == 0);
    CHECK(stand_run(&s, "git -c protocol.version=0 clone -q $U zero && cmp zero/f $W/f") == 0);
    CHECK(stand_run(&s, "git -c protocol.version=1 clone -q $U one && cmp one/f $W/f") == 0);
    CHECK(stand_run(&s, "cd $W && for i in 1 2 3; do echo $i > f; git commit -qam c$i; git tag -m "
                        "t t$i; done && "
                        "git push -q --follow-tags origin main") == 0);
    CHECK(s.pushes_count == 5); // main and three tags
    CHECK(stand_run(
              &s,
              "for v in two zero one; do git -C $v -c protocol.version=${v%??} pull -q 2>&1 || "
              "git -C $v pull -q; cmp $v/f $W/f || exit 1; done; git -C two cat-file -t t3") == 0);
    CHECK(stand_said(&s, "tag"));
    CHECK(stand_run(&s,
                    "git clone -q --depth 1 $U shallow && git -C shallow rev-list --count HEAD") ==
          0);
    CHECK(stand_said(&s, "1\n"));
    CHECK(stand_run(&s, "git -c protocol.version=0 clone -q --depth 2 $U shallow0 && "
                        "git -C shallow0 rev-list --count HEAD") == 0 &&
          stand_said(&s, "2\n"));
    // From a shallow clone back.
    CHECK(stand_run(
              &s, "cd shallow && echo more > g && git add g && git commit -qm g && git push -q") ==
          0);
    CHECK(stand_run(&s, "git -C $R fsck --strict && git -C $R symbolic-ref HEAD && ls $R") == 0);
    CHECK(!stand_said(&s, "push-pending"));
    stand_close(&s);
}

TEST(forge_lets_in_the_owner_alone)
{
    stand s;
    stand_open(&s);
    CHECK(stand_run(&s, "curl -si $A/alice/tb.git/info/refs?service=git-upload-pack") == 0);
    CHECK(stand_said(&s, "HTTP/1.1 401") &&
          stand_said(&s, "WWW-Authenticate: Basic realm=\"ctau\""));
    CHECK(stand_run(&s, "curl -si -H 'Sec-Fetch-Mode: cors' "
                        "$A/alice/tb.git/info/refs?service=git-upload-pack") == 0);
    CHECK(stand_said(&s, "HTTP/1.1 401") && !stand_said(&s, "WWW-Authenticate"));
    CHECK(stand_run(&s, "curl -si -u x:wrong $A/alice/tb.git/info/refs?service=git-upload-pack") ==
          0);
    CHECK(stand_said(&s, "HTTP/1.1 401") && stand_said(&s, "WWW-Authenticate"));
    CHECK(stand_run(&s, "git clone http://x:wrong@${A#http://}/alice/tb.git no") == 128);
    CHECK(stand_said(&s, "Authentication failed"));
    CHECK(stand_run(&s, "git clone http://x:bobs@${A#http://}/alice/tb.git no") == 128 &&
          stand_said(&s, "not found"));
    CHECK(stand_said(&s, "remote: there is no such repository, or it is not yours"));
    CHECK(stand_run(&s, "git clone http://x:secret@${A#http://}/alice/nothing.git no") == 128);
    CHECK(stand_said(&s, "not found"));
    CHECK(stand_run(&s, "cd $W && git push http://x:bobs@${A#http://}/alice/tb.git main") == 128);
    CHECK(!file_exists(s.repository)); // nothing of this made one
    CHECK(
        stand_run(
            &s,
            "T='Authorization: Bearer secret'; B=$A/ALICE/TB.git\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" $B/info/refs?service=git-upload-pack\n"
            "curl -so /dev/null -w '%{http_code} ' -u secret: "
            "$B/info/refs?service=git-upload-pack\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" $B/info/refs\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" $B/HEAD\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" $B/git-upload-pack\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" -d x $B/git-upload-pack\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" -d 0000 $B/git-receive-pack "
            "-H 'Content-Type: application/x-git-receive-pack-request'\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" -d 'GET /' $B/git-receive-pack "
            "-H 'Content-Type: application/x-git-receive-pack-request'\n"
            "curl -so /dev/null -w '%{http_code} ' -H \"$T\" -d 00 $B/git-receive-pack "
            "-H 'Content-Type: application/x-git-receive-pack-request'\n") == 0);
    CHECK(stand_said(&s, "200 200 404 404 405 415 200 400 400 "));
    CHECK(file_exists(s.repository)); // as auth's record spells it
    stand_close(&s);
}

TEST(forge_takes_large_and_packed_bodies)
{
    stand s;
    stand_open(&s);
    CHECK(
        stand_run(
            &s,
            "cd $W && head -c 20971520 /dev/urandom > big && git add big && git commit -qm big && "
            "git push -q origin main") == 0);
    CHECK(s.pushes_count == 1 && strcmp(s.pushes[0].subject, "big") == 0);
    CHECK(stand_run(&s, "git clone -q $U copy && cmp copy/big $W/big") == 0);
    CHECK(stand_run(
              &s,
              "printf '0014command=ls-refs\\n0000' | gzip | curl -s -u x:secret --data-binary @- "
              "-H 'Content-Encoding: gzip' -H 'Git-Protocol: version=2' "
              "-H 'Content-Type: application/x-git-upload-pack-request' "
              "$A/alice/tb.git/git-upload-pack") == 0);
    CHECK(stand_said(&s, "refs/heads/main") && stand_said(&s, s.pushes[0].after));
    CHECK(
        stand_run(
            &s,
            "printf 'no gzip' | curl -s -u x:secret --data-binary @- -w ' %{http_code}' "
            "-H 'Content-Encoding: gzip' -H 'Content-Type: application/x-git-upload-pack-request' "
            "$A/alice/tb.git/git-upload-pack") == 0 &&
        stand_said(&s, " 400"));
    // Enough wants and haves for git to pack its own request.
    CHECK(stand_run(&s,
                    "cd $W && for i in $(seq 60); do git commit -q --allow-empty -m c$i && git "
                    "branch b$i; done && "
                    "git push -q --all && cd ../copy && for i in $(seq 60); do git commit -q "
                    "--allow-empty -m x$i; "
                    "done && GIT_TRACE_CURL=1 git fetch 2>&1 | grep -i 'content-encoding: gzip'") ==
          0);
    CHECK(stand_run(&s, "git -C copy rev-parse origin/b60 && git -C $W rev-parse b60 | xargs git "
                        "-C copy cat-file -e") == 0);
    stand_close(&s);
}

TEST(forge_serves_two_pushes_at_once_in_turn)
{
    stand s;
    stand_open(&s);
    CHECK(stand_run(
              &s,
              "cd $W && git push -q origin main && git clone -q $U ../other && "
              "head -c 3000000 /dev/urandom > a && git add a && git commit -qm a && cd ../other && "
              "head -c 3000000 /dev/urandom > b && git add b && git commit -qm b") == 0);
    CHECK(stand_run(&s, "cd $W && git push -q origin main:left & P=$!; cd other && git push -q "
                        "origin main:right; "
                        "E=$?; wait $P && exit $E") == 0);
    CHECK(s.pushes_count == 3);
    // The same branch: one of them loses, in git's own words, and nothing is broken.
    CHECK(stand_run(&s, "(cd $W && git push -q origin main; echo exit $?) & cd other && git push "
                        "-q origin main; "
                        "echo exit $?; wait; git -C $R fsck --strict") == 0);
    CHECK(stand_said(&s, "exit 0") && stand_said(&s, "exit 1"));
    CHECK(s.pushes_count == 4);
    stand_close(&s);
}

TEST(forge_puts_back_what_patrick_does_not_record)
{
    stand s;
    stand_open(&s);
    s.refuse = fail(ERR_BUSY, 0, "the queue is full");
    CHECK(stand_run(&s, "cd $W && git push origin main") == 1);
    CHECK(stand_said(&s, "remote: error: refs/heads/main is not pushed: the queue is full"));
    CHECK(stand_said(&s, "remote rejected"));
    char head[41];
    CHECK(repo_head(s.repository, STR("main"), head).code == ERR_ABSENT);
    s.refuse = ok();
    CHECK(stand_run(
              &s,
              "cd $W && git push -q origin main main:old && git commit -q --allow-empty -m two && "
              "git branch new") == 0);
    char first[41];
    CHECK(repo_head(s.repository, STR("main"), first).code == OK);
    s.refuse = fail(ERR_FULL, 0, "full");
    CHECK(stand_run(&s, "cd $W && git push origin main") == 1 && stand_said(&s, "no space left"));
    CHECK(stand_head_is(&s, "main", first));
    CHECK(stand_run(&s, "cd $W && git push origin :old") == 1 && stand_head_is(&s, "old", first));
    // One ref of two; then both or none.
    s.only = "refs/heads/main";
    CHECK(stand_run(&s, "cd $W && git push origin main new") == 1);
    CHECK(stand_head_is(&s, "main", first) && !stand_head_is(&s, "new", first));
    CHECK(repo_head(s.repository, STR("new"), head).code == OK);
    CHECK(stand_run(&s, "cd $W && git push --atomic origin main main:newer") == 1);
    CHECK(stand_head_is(&s, "main", first) &&
          repo_head(s.repository, STR("newer"), head).code == ERR_ABSENT);
    // Nobody is there to record it.
    s.refuse = ok();
    mesh_leave(s.patrick);
    s.patrick = NULL;
    CHECK(stand_run(&s, "cd $W && git push origin main") == 1 && stand_head_is(&s, "main", first));
    stand_close(&s);
}

TEST(forge_push_forces_deletes_and_names_deployments)
{
    stand s;
    stand_open(&s);
    CHECK(stand_run(
              &s, "cd $W && git push -q -o deployment=Abc/2 -o other origin main main:side") == 0);
    CHECK(s.pushes_count == 2 && strcmp(s.pushes[0].deployment, "Abc") == 0 &&
          s.pushes[0].deployment_size == 2);
    CHECK(stand_run(&s, "cd $W && git push -q -o deployment=Abc origin main:x") != 0 &&
          s.pushes_count == 2);
    CHECK(stand_run(&s, "cd $W && git commit -q --amend -m other && git push -q origin main") == 1);
    CHECK(s.pushes_count == 2);
    CHECK(stand_run(&s, "cd $W && git push -q -f origin main") == 0 && s.pushes_count == 3);
    CHECK(strcmp(s.pushes[2].before, s.pushes[0].after) == 0 && s.pushes[2].deployment[0] == '\0');
    CHECK(stand_run(&s, "cd $W && git push -q origin :side") == 0 && s.pushes_count == 4);
    CHECK(strcmp(s.pushes[3].ref, "refs/heads/side") == 0 && strcmp(s.pushes[3].after, zeros) == 0);
    // A broken tree is refused by git itself.
    CHECK(stand_run(&s,
                    "cd $W && B=$(git hash-object -w f) && "
                    "T=$(printf '100644 blob %s\\t.git\\n' $B | git mktree) && "
                    "C=$(git commit-tree -m bad $T) && git push origin $C:refs/heads/bad") == 1);
    CHECK(s.pushes_count == 4);
    stand_close(&s);
}

TEST(forge_tells_again_what_its_own_end_has_cut)
{
    stand s;
    char path[512];
    stand_open(&s);
    CHECK(stand_run(&s, "cd $W && git push -q origin main") == 0);
    forge_close(s.forge);
    // As after kill -9 between git's end and patrick's answer.
    CHECK(repo_push_begin(s.repository).code == OK);
    snprintf(path, sizeof(path), "%s/refs/heads/main.lock", s.repository);
    CHECK(file_write_durable(path, STR(""), 0644).code == OK);
    snprintf(path, sizeof(path), "%s/repositories", s.folder);
    forge_settings settings = {.loop = s.loop, .mesh = s.client, .folder = path};
    CHECK(forge_open(&s.forge, &settings).code == OK);
    s.refuse = fail(ERR_BUSY, 0, "not yet");
    CHECK(stand_run(&s, "git ls-remote $U") != 0 && s.pushes_count == 2);
    s.refuse = ok();
    CHECK(stand_run(&s, "cd $W && git push origin main") == 0 && stand_said(&s, "up-to-date"));
    CHECK(s.pushes_count == 3 && strcmp(s.pushes[2].after, s.pushes[0].after) == 0);
    CHECK(stand_run(&s, "cd $W && git commit -q --allow-empty -m two && git push -q origin main") ==
          0);
    CHECK(s.pushes_count == 4);
    stand_close(&s);
}

TEST(forge_repository_that_was_deleted_does_not_come_back)
{
    stand s;
    stand_open(&s);
    CHECK(stand_run(&s, "cd $W && git push -q origin main") == 0);
    s.id = "R2"; // deleted and made again under the same name
    CHECK(stand_run(&s, "git ls-remote $U") == 0 && !stand_said(&s, "main"));
    CHECK(stand_run(&s, "cd $W && git commit -q --amend -m again && git push -q origin main && "
                        "git -C ${R%/*}/.was-R1-* rev-parse main") == 0);
    CHECK(s.pushes_count == 2 && stand_said(&s, s.pushes[0].after));
    CHECK(stand_head_is(&s, "main", s.pushes[1].after));
    stand_close(&s);
}

TEST(forge_outlives_clients_that_break)
{
    stand s;
    stand_open(&s);
    CHECK(stand_run(&s, "cd $W && git push -q origin main && head -c 9000000 /dev/urandom > big && "
                        "git add big && "
                        "git commit -qm big") == 0);
    // A push that is cut in its pack, one in its head, and a clone.
    CHECK(stand_run(&s, "H=$(git -C $W rev-parse HEAD~) N=$(git -C $W rev-parse HEAD)\n"
                        "L=\"$H $N refs/heads/main\"; { printf '%04x%s\\0report-status' $((${#L} + "
                        "18)) \"$L\"; "
                        "printf 0000PACK; } > cut\n"
                        "for n in 5 $(stat -c %s cut); do { printf 'POST "
                        "/alice/tb.git/git-receive-pack HTTP/1.1\\r\\n"
                        "Host: x\\r\\nContent-Type: application/x-git-receive-pack-request\\r\\n"
                        "Authorization: Bearer secret\\r\\nContent-Length: 100000\\r\\n\\r\\n'; "
                        "head -c $n cut; sleep 0.3; }"
                        " | timeout 1 curl -s --no-buffer -m 1 telnet://${A#http://} ; done; "
                        "timeout 0.02 git clone -q $U broken; true") == 0);
    CHECK(s.pushes_count == 1);
    CHECK(stand_run(&s, "cd $W && git push -q origin main && git clone -q $U ../whole && git -C $R "
                        "fsck --strict") == 0);
    CHECK(s.pushes_count == 2);
    stand_close(&s);
}

TEST(forge_acknowledges_nothing_on_a_full_disk)
{
    stand s;
    stand_open(&s);
    if (stand_run(&s, "mkdir -p ${R%/*} && mount -t tmpfs -o size=4m forge ${R%/*}") != 0) {
        print_message("no right to mount a small disk: not tried\n");
        stand_close(&s);
        return;
    }
    CHECK(stand_run(&s, "cd $W && git push -q origin main") == 0 && s.pushes_count == 1);
    CHECK(stand_run(
              &s,
              "cd $W && head -c 9000000 /dev/urandom > big && git add big && git commit -qm big && "
              "git push origin main") == 1);
    CHECK(stand_said(&s, "remote rejected") && s.pushes_count == 1);
    CHECK(stand_head_is(&s, "main", s.pushes[0].after));
    // To the last byte: not even the note of a push can be made, or its ref can not be written.
    CHECK(stand_run(&s, "dd if=/dev/zero of=${R%/*}/fill bs=1k 2>/dev/null; cd $W && git reset -q "
                        "--hard HEAD~ && "
                        "git commit -q --allow-empty -m small && git push origin main") != 0);
    CHECK(s.pushes_count == 1 && stand_head_is(&s, "main", s.pushes[0].after));
    CHECK(stand_run(
              &s, "rm ${R%/*}/fill; cd $W && git push -q origin main && git -C $R fsck --strict") ==
          0);
    CHECK(s.pushes_count == 2);
    forge_close(s.forge);
    s.forge = NULL;
    CHECK(stand_run(&s, "umount -l ${R%/*}") == 0);
    stand_close(&s);
}

static void closed_note(void *data)
{
    *(bool *)data = true;
}

TEST(forge_closes_while_a_push_is_under_way)
{
    stand s;
    stand_open(&s);
    s.silent = true;
    stand_start(&s, "cd $W && git push origin main & cd $W && git push origin main:second");
    while (s.pushes_count == 0)
        loop_turn(s.loop, 100);
    bool closed = false;
    forge_close_then(s.forge, closed_note, &closed);
    s.forge = NULL;
    CHECK(!closed); // patrick has not answered yet
    mesh_leave(s.patrick);
    s.patrick = NULL;
    while (!s.ended || !closed)
        loop_turn(s.loop, 100);
    CHECK(s.status != 0);
    stand_close(&s);
}
