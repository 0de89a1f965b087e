/* Private to infer: the parts of opening a checkpoint. */
#ifndef SUPERCLIP_INFER_CHECKPOINT_H
#define SUPERCLIP_INFER_CHECKPOINT_H

#include "superclip/infer.h"

/* class_to_idx -> classes, class_names and room for their texts. */
sc_status checkpoint_classes(sc_checkpoint *c);
/* class_token_ids, or class_texts and a tokenizer -> texts. */
sc_status checkpoint_texts(sc_checkpoint *c, const char *tokenizer, const sc_log *log);
void checkpoint_text_free(sc_train_text *t);

#endif
